"""LFST: locality to the cell, fixed length, masks, gradients."""

import pytest
import torch

from pal_plugin.connectors import LFST, build_connector
from pal_plugin.types import AudioTokens

WIDTHS = {"sslam": 8, "clap": 6}
GRIDS = {"sslam": (64, 8), "clap": (32, 2)}


def connector(grid, widths=WIDTHS, grids=GRIDS, local=True):
    torch.manual_seed(0)
    lfst = LFST(widths, grids, 16, grid=grid, width=32, heads=4, layers=2)
    if local:  # without the global context every output depends on its window only
        for layer in lfst.layers:
            torch.nn.init.zeros_(layer.proj_context.weight)
    return lfst


def tokens(widths=WIDTHS, grids=GRIDS, batch=1, valid_s=None):
    torch.manual_seed(1)
    result = {}
    for name, width in widths.items():
        t, f = grids[name]
        mask = torch.ones(batch, t, f, dtype=torch.bool)
        if valid_s is not None:
            mask[:, int(t * valid_s / 10) :] = False
        features = torch.randn(batch, t * f, width)
        result[name] = AudioTokens(features, mask.flatten(1), (t, f))
    return result


def changed_cells(lfst, name, cell):
    """Output cells (time, column) that move when one input cell does."""
    before = tokens()
    after = tokens()
    t, f = cell
    after[name].features[0, t * GRIDS[name][1] + f] += 1.0
    with torch.no_grad():
        difference = lfst(after).cells() - lfst(before).cells()
    return {tuple(c) for c in (difference.abs().sum(-1)[0] > 0).nonzero().tolist()}


@pytest.mark.parametrize(
    ("grid", "name", "cell", "times", "columns"),
    [
        ((64, 8), "sslam", (0, 0), [0], [0]),
        ((64, 8), "sslam", (63, 7), [63], [7]),
        ((64, 8), "clap", (5, 1), [10, 11], [4, 5, 6, 7]),
        ((64, 8), "clap", (31, 0), [62, 63], [0, 1, 2, 3]),
        ((64, 4), "sslam", (7, 3), [7], [1]),
        ((64, 4), "clap", (7, 1), [14, 15], [2, 3]),
        ((32, 8), "sslam", (7, 3), [3], [3]),
        ((32, 8), "clap", (7, 0), [7], [0, 1, 2, 3]),
        ((32, 2), "sslam", (11, 6), [5], [1]),
        ((32, 2), "clap", (5, 1), [5], [1]),
        ((128, 1), "sslam", (9, 5), [18, 19], [0]),
        ((16, 16), "sslam", (9, 5), [2], [10, 11]),
        ((16, 16), "clap", (9, 1), [4], [8, 9, 10, 11, 12, 13, 14, 15]),
    ],
)
def test_a_cell_changes_its_window_only(grid, name, cell, times, columns):
    window = {(t, f) for t in times for f in columns}
    assert changed_cells(connector(grid), name, cell) == window


def test_the_context_is_global():
    assert len(changed_cells(connector((32, 2), local=False), "sslam", (11, 6))) == 64


@pytest.mark.parametrize(
    ("grid", "length"), [((64, 8), 576), ((64, 4), 320), ((32, 8), 288), ((32, 2), 96)]
)
def test_length_and_newlines(grid, length):
    lfst = connector(grid)
    output = lfst(tokens())
    assert output.features.shape == (1, length, 16)
    assert output.grid == (grid[0], grid[1] + 1)
    newlines = output.cells()[0, :, -1]
    assert torch.equal(newlines, lfst.newline.expand(grid[0], -1))
    assert output.mask.all()


def test_a_third_encoder_costs_no_tokens():
    widths, grids = {**WIDTHS, "third": 5}, {**GRIDS, "third": (16, 4)}
    two, three = connector((32, 2)), connector((32, 2), widths, grids)
    output = three(tokens(widths, grids))
    assert output.features.shape == two(tokens()).features.shape == (1, 96, 16)
    assert output.grid == (32, 3)


def test_cells_after_the_end_are_masked_and_not_read():
    lfst = connector((32, 2), local=False)
    short = tokens(valid_s=5)
    output = lfst(short)
    mask = output.mask.unflatten(1, output.grid)
    assert mask[0, :16].all()
    assert not mask[0, 16:].any()
    for part in short.values():
        part.features[~part.mask] = float("nan")
    poisoned = lfst(short)
    assert torch.equal(poisoned.features, output.features)
    assert output.features.isfinite().all()


def test_every_parameter_gets_a_gradient():
    lfst = connector((32, 2), local=False)
    lfst(tokens()).features.square().sum().backward()
    without = [n for n, p in lfst.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_bfloat16():
    lfst, exact = connector((32, 2), local=False), tokens(valid_s=5)
    expected = lfst(exact)
    half = {n: AudioTokens(t.features.bfloat16(), t.mask, t.grid) for n, t in exact.items()}
    output = lfst.bfloat16()(half)
    assert output.features.dtype == torch.bfloat16
    difference = output.features.float() - expected.features
    assert difference.norm() < 0.03 * expected.features.norm()


def test_errors():
    with pytest.raises(ValueError, match="width 32 is not divisible by heads 5"):
        LFST(WIDTHS, GRIDS, 16, width=32, heads=5)
    with pytest.raises(ValueError, match=r"'sslam' has the grid \(64, 8\)"):
        connector((64, 3))
    with pytest.raises(ValueError, match="use the mlp or qformer connector"):
        build_connector("lfst", WIDTHS, {**GRIDS, "clap": None}, 16, {})
    with pytest.raises(ValueError, match="unknown connector 'lfts'; known: lfst, mlp"):
        build_connector("lfts", WIDTHS, GRIDS, 16, {})
    with pytest.raises(ValueError, match="head"):
        build_connector("lfst", WIDTHS, GRIDS, 16, {"head": 4})
