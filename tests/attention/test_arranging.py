"""Clips joined as a batch and as a conversation; what belongs to a layer goes along."""

from dataclasses import replace

import pytest
import torch

from pal_plugin.attention.arranging import arranged, merged, silent, stacked
from pal_plugin.attention.context import AudioContext

#: Two groups: of two columns for layer 0 alone, of one for all layers.
SPANS = ((2, frozenset({0})), (1, None))


def numbers(first, clips, columns, *more):
    """`[clips, columns, *more]`, each entry the number of its clip and column."""
    count = torch.arange(first, first + clips * columns, dtype=torch.float)
    return count.view(clips, columns, *(1 for _ in more)).expand(clips, columns, *more)


def context(first, clips, spans=SPANS, mask=None):
    columns = sum(width for width, _ in spans)
    keys = numbers(first, clips, columns, 1, 1).transpose(1, 2)  # [clips, heads, m, d]
    clip_kv = {
        0: (keys, keys + 0.5),
        1: (keys[:, :, -spans[1][0] :], keys[:, :, -spans[1][0] :] + 0.5),
    }
    gains = torch.cat([torch.full((2, w), float(n + 2)) for n, (w, _) in enumerate(spans)], 1)
    if mask is None:
        mask = torch.ones(clips, columns, dtype=torch.bool)
    return AudioContext(
        numbers(first, clips, columns, 1), mask, spans=spans, gains=gains, clip_kv=clip_kv
    )


def test_clips_of_other_lengths_are_padded_in_each_span():
    both = stacked([context(10, 2), context(90, 1, ((1, frozenset({0})), (2, None)))])
    assert both.spans == ((2, frozenset({0})), (2, None))
    assert both.features[..., 0].tolist() == [[10, 11, 12, 0], [13, 14, 15, 0], [90, 0, 91, 92]]
    assert both.mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 1, 1]]
    assert both.gains.tolist() == [[2, 2, 3, 3]] * 2
    for layer, columns in ((0, range(4)), (1, range(2, 4))):
        keys, values = both.clip_kv[layer]
        assert torch.equal(keys[:, 0, :, 0], both.features[:, list(columns), 0])
        there = both.mask[:, list(columns)]
        assert torch.equal(values[:, 0, :, 0][there], (keys[:, 0, :, 0] + 0.5)[there])


def test_one_context_is_itself():
    one = context(1, 2)
    assert stacked([one]) is one


def test_a_conversations_clips_follow_each_other_in_each_span():
    mask = torch.tensor([[True, True, True], [True, False, True]])
    clips = context(1, 2, mask=mask)
    two = arranged(clips, torch.tensor([[1, 0], [0, -1]]))
    assert two.spans == ((4, frozenset({0})), (2, None))
    assert two.mask.tolist() == [[1, 0, 1, 1, 1, 1], [1, 1, 0, 0, 1, 0]]
    # Clip 1 (4, padding, 6), then clip 0 (1, 2, 3), and clip 0 alone.
    assert two.features[..., 0].tolist() == [[4, 0, 1, 2, 6, 3], [1, 2, 0, 0, 3, 0]]
    assert two.gains.tolist() == [[2, 2, 2, 2, 3, 3]] * 2
    keys = two.clip_kv[1][0][:, 0, :, 0]
    assert keys[two.mask[:, 4:]].tolist() == [6, 3, 3]


def read(first, clips, spans=SPANS, mask=None):
    """A context after a text was read: its K/V are of the positions that it had there."""
    made = context(first, clips, spans, mask)
    positions = made.positions.expand(clips, -1) - first
    return replace(made, kv=made.clip_kv, clip_kv=None, gains=None, positions=positions)


def test_contexts_of_several_calls_keep_their_keys_and_positions():
    mask = torch.tensor([[True, True, True], [True, False, True]])
    parts = [read(10, 2, mask=mask), read(90, 1, ((1, frozenset({0})), (2, None)))]
    three = merged([*parts, silent(parts[1], 1)])
    assert three.spans == ((2, frozenset({0})), (2, None))
    assert three.mask.tolist() == [[1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0]]
    assert three.positions[:2, :3].tolist() == parts[0].positions.tolist()
    assert three.positions[2, [0, 2, 3]].tolist() == parts[1].positions[0].tolist()
    assert three.kv[0][0][:, 0, :, 0][three.mask].tolist() == [10, 11, 12, 13, 15, 90, 91, 92]
    assert three.kv[1][1][:, 0, :, 0][three.mask[:, 2:]].tolist() == [12.5, 15.5, 91.5, 92.5]
    assert merged(parts[:1]) is parts[0]


@pytest.mark.parametrize("spans", [None, SPANS])
def test_without_keys_and_gains(spans):
    features, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    one = AudioContext(features, mask, spans=spans)
    assert torch.equal(stacked([one, one]).features, torch.cat([features, features]))
    row = arranged(one, torch.tensor([[0, 1]]))
    assert row.clip_kv is None
    assert row.gains is None
    assert row.features.shape == (1, 6, 4)
