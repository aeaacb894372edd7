"""Rows assembled from segments without gaps, padded at one end."""

import pytest
import torch

from pal_plugin.integration.plits import assemble, prepend
from pal_plugin.types import AudioTokens


def segment(*rows):
    """Numbers as tokens of width 1; None is padding, which holds NaN."""
    features = torch.tensor([[float("nan") if n is None else float(n) for n in r] for r in rows])
    return features[..., None], ~features.isnan()


AUDIO = segment([1, 2, 3], [None, 4, None])
TEXT = segment([5, None], [6, 7])


@pytest.mark.parametrize(
    ("side", "rows"),
    [
        ("right", [[1, 2, 3, 5], [4, 6, 7, 0]]),
        ("left", [[1, 2, 3, 5], [0, 4, 6, 7]]),
    ],
)
def test_valid_tokens_stand_behind_each_other(side, rows):
    row = assemble([AUDIO, TEXT], side)
    assert row.embeds[..., 0].tolist() == rows
    assert row.mask.sum(1).tolist() == [4, 3]
    assert bool((row.embeds[..., 0] != 0).eq(row.mask).all())
    for (features, mask), columns in zip((AUDIO, TEXT), row.columns, strict=True):
        found = row.embeds.gather(1, columns[..., None])
        assert torch.equal(found[mask], features[mask])


def test_audio_stands_in_front_and_the_llms_scale_is_taken_back():
    tokens = AudioTokens(torch.full((2, 1, 1), 6.0), torch.ones(2, 1).bool())
    text = torch.ones(2, 2, 1, dtype=torch.float64)
    row = prepend(tokens, text, torch.ones(2, 2).long(), embedding_scale=3.0)
    assert row.embeds[..., 0].tolist() == [[2, 1, 1]] * 2
    assert row.embeds.dtype == torch.float64


def test_segments_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match="side is 'middle'; expected left or right"):
        assemble([AUDIO], "middle")
    with pytest.raises(ValueError, match="at least one segment"):
        assemble([], "left")
    wider = torch.zeros(2, 1, 2), torch.ones(2, 1).bool()
    with pytest.raises(ValueError, match="is the connector's output as wide as the LLM"):
        assemble([AUDIO, wider], "left")
