"""`AudioContext`: padding, positions, who hears, rows per clip, and what is made once."""

import pytest
import torch

from pal_plugin.attention.context import repeat_rows, rows_per_clip
from pal_plugin.integration import AudioContext
from pal_plugin.types import AudioTokens

MASK = torch.tensor([[True, True, True], [True, False, False]])


def context(mask=MASK, **more):
    features = torch.arange(1.0, 7.0).reshape(2, 3, 1).masked_fill(~mask[..., None], torch.nan)
    return AudioContext(features, mask, **more)


def test_padding_is_zeroed_and_positions_count_up_to_the_text():
    padded, whole = context(), context(torch.ones_like(MASK))
    assert (padded.padded, whole.padded) == (True, False)
    assert padded.features[..., 0].tolist() == [[1, 2, 3], [4, 0, 0]]
    assert padded.positions[0].tolist() == [-3, -2, -1]
    assert padded.positions[1, 0] == -1
    assert whole.positions.tolist() == [[-3, -2, -1]]
    assert len(padded) == 2


def test_layers_say_who_hears():
    assert context().attends_in(5)
    some = AudioContext.from_tokens(AudioTokens(torch.zeros(2, 3, 1), MASK), [1, 2], torch.float16)
    assert [some.attends_in(layer) for layer in (0, 1, 2)] == [False, True, True]
    assert some.features.dtype == torch.float16
    with pytest.raises(ValueError, match=r"layers is empty.*None = all"):
        context(layers=frozenset())
    with pytest.raises(ValueError, match=r"mask must be bool \(2, 3\)"):
        AudioContext(torch.zeros(2, 3, 1), MASK.long())


def test_keys_and_values_are_kept_for_one_generate_and_go_with_their_clips():
    heard = context()
    assert heard.kv is None
    kept = heard.with_kv_cache()
    assert kept.with_kv_cache() is kept
    keys = torch.arange(6.0).reshape(2, 1, 3, 1)  # [clips, heads, tokens, width]
    kept.kv[0] = (keys, keys + 10)
    first = kept.select(torch.tensor([0, 0]))
    assert torch.equal(first.kv[0][0], keys[[0, 0]])
    assert torch.equal(first.kv[0][1], keys[[0, 0]] + 10)
    assert first.mask.tolist() == [[True, True, True]] * 2
    assert kept.with_empty_kv_cache().kv == {}
    empty = heard.with_kv_cache()
    assert empty.select(torch.tensor([0, 0])).kv is not empty.kv
    learned = torch.ones(2, 3, requires_grad=True)
    graph = AudioContext(heard.features * learned[:, :, None], heard.mask, gains=learned)
    cut = graph.with_kv_cache()
    assert not cut.features.requires_grad
    assert not cut.gains.requires_grad


def test_what_all_layers_share_is_made_once_per_pass():
    outside, made = context(), []
    owner = torch.zeros(1)
    for expected in (1, 2):
        assert outside.once("mask", lambda: made.append(1) or len(made), owner) == expected
    made.clear()
    heard = outside.in_pass()
    for _ in range(2):
        assert heard.once("mask", lambda: made.append(1) or len(made), owner) == 1
    assert heard.once("mask", lambda: made.append(1) or len(made), torch.ones(1)) == 2
    again = heard.in_pass(torch.zeros(2, 3, 1))
    assert again.once("mask", lambda: "anew", owner) == "anew"
    assert heard.cache.normed is None


def test_rows_share_the_clips_evenly():
    assert rows_per_clip(2, 6) == 3
    clips = torch.tensor([[1], [2]])
    assert repeat_rows(clips, 2) is clips
    assert repeat_rows(clips, 4).flatten().tolist() == [1, 1, 2, 2]
    with pytest.raises(ValueError, match="the audio has 2 samples and the text 3 rows"):
        repeat_rows(clips, 3)
