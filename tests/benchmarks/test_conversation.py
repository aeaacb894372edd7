"""The benchmark of conversations counts what enters the decoder and the encoders."""

import pytest

from benchmarks import conversation
from pal_plugin.clips import clip


@pytest.mark.parametrize("model_type", [pytest.param("plits", marks=pytest.mark.slow), "lal"])
def test_a_turn_reads_its_own_tokens_and_encodes_its_own_clip(tiny_model, model_type):
    model = tiny_model(model_type)
    turns = conversation.measure(model, [clip("dog"), clip("rain")], 4, rounds=1)
    assert [t.clips["cached"] for t in turns] == [1, 1, 0, 0]
    assert [t.clips["anew"] for t in turns] == [1, 2, 2, 2]
    # Anew, a turn reads all that was read before it, the last token of each answer, and its end.
    read = 0
    for turn in turns:
        read += turn.tokens["cached"]
        assert turn.tokens["anew"] == read
    assert all(t.ratio > 0 for t in turns)
    assert "clips encoded" in conversation.table("lal", turns)
