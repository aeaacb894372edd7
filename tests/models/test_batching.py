"""Padded ids, and which clip each row is about."""

import pytest
import torch

from pal_plugin.models.batching import pad_ids, which_clip


@pytest.mark.parametrize(
    ("side", "ids", "mask"),
    [
        ("left", [[1, 2, 3], [9, 9, 4]], [[1, 1, 1], [0, 0, 1]]),
        ("right", [[1, 2, 3], [4, 9, 9]], [[1, 1, 1], [1, 0, 0]]),
    ],
)
def test_rows_are_padded_on_one_side(side, ids, mask):
    padded, valid = pad_ids([[1, 2, 3], [4]], side, 9, torch.device("cpu"))
    assert padded.tolist() == ids
    assert valid.tolist() == mask


def test_nothing_is_copied_where_it_goes_without_saying():
    assert which_clip({}, clips=3, rows=3) is None
    assert which_clip({}, clips=1, rows=5) is None
    assert which_clip({"clip_index": torch.tensor([0, 0, 1, 1])}, 2, 4) is None  # in turn
    assert which_clip({"clip_index": [0, 1, 1]}, 2, 3).tolist() == [0, 1, 1]
    assert which_clip({"clip_index": [1, 0]}, 2, 2).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        ({}, "2 clips and 3 questions; expected one question per clip, one clip"),
        ({"clip_index": [0, 1]}, r"clip_index is \[0, 1\]; expected 3 numbers in 0..1"),
        ({"clip_index": [0, 1, 2]}, r"expected 3 numbers in 0..1"),
        ({"clip_index": [0, 1, -1]}, r"expected 3 numbers in 0..1"),
    ],
)
def test_rows_without_their_clip_are_an_error(samples, told):
    with pytest.raises(ValueError, match=told):
        which_clip(samples, clips=2, rows=3)
