"""`AudioTokens`: shapes that fit, cells of a grid, rows, and parts joined along the sequence."""

import pytest
import torch

from pal_plugin.types import AudioTokens

FEATURES = torch.arange(24.0).reshape(2, 6, 2)
MASK = torch.ones(2, 6).bool()


@pytest.mark.parametrize(
    ("features", "mask", "grid", "told"),
    [
        (FEATURES[0], MASK, None, r"must be \[B, N, D\], got \(6, 2\)"),
        (FEATURES, MASK.long(), None, r"must be bool \(2, 6\), got torch.int64 \(2, 6\)"),
        (FEATURES, MASK[:, :5], None, r"must be bool \(2, 6\), got torch.bool \(2, 5\)"),
        (FEATURES, MASK, (2, 2), r"grid \(2, 2\) has 4 cells, but there are 6 tokens"),
    ],
)
def test_shapes_that_contradict_each_other_are_errors(features, mask, grid, told):
    with pytest.raises(ValueError, match=told):
        AudioTokens(features, mask, grid)


def test_cells_go_time_by_time():
    tokens = AudioTokens(FEATURES, MASK, (2, 3))
    assert tokens.cells().shape == (2, 2, 3, 2)
    assert torch.equal(tokens.cells()[:, 1, 2], FEATURES[:, 5])
    with pytest.raises(ValueError, match="no time-frequency grid"):
        AudioTokens(FEATURES, MASK).cells()


def test_rows_and_parts():
    tokens = AudioTokens(FEATURES, MASK, (2, 3))
    rows = tokens.select(torch.tensor([1, 1, 0]))
    assert len(rows) == 3
    assert torch.equal(rows.features[0], FEATURES[1])
    assert rows.grid == (2, 3)
    assert AudioTokens.concat([tokens]) is tokens
    joined = AudioTokens.concat([tokens, tokens])
    assert joined.features.shape == (2, 12, 2)
    assert joined.grid is None
