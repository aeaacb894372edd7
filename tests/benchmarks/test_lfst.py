"""LFST's benchmark: the counts against formulas, and the command line from end to end."""

import json

import pytest
import torch

from benchmarks import lfst
from pal_plugin.connectors import LFST
from pal_plugin.types import AudioTokens

B, WIDTH, LAYERS, ENCODER, OUT = 2, 16, 2, 6, 10


def setting(grid=(64, 8)):
    torch.manual_seed(0)
    widths = dict.fromkeys(lfst.GRIDS, ENCODER)
    module = LFST(widths, lfst.GRIDS, OUT, grid=grid, width=WIDTH, heads=2, layers=LAYERS)
    tokens = {}
    for name, (t, f) in lfst.GRIDS.items():
        mask = torch.ones(B, t * f, dtype=torch.bool)
        tokens[name] = AudioTokens(torch.randn(B, t * f, ENCODER), mask, (t, f))
    return module, tokens


@pytest.mark.parametrize("grid", [(64, 8), (32, 2)])
def test_products_are_those_of_the_definition_without_repetition(grid):
    """Multiply-adds of a forward pass of B clips: nothing that is equal for all cells, and no key
    that many queries see, is projected more than once."""
    module, tokens = setting(grid)
    with lfst.Products() as products:
        module(tokens)
    found = sum(x[:-1].numel() * w[0] * w[1] for x, w, _, _ in products.found)
    cells, queries = 64 * 8 + 32 * 2, grid[0] * grid[1]
    square = WIDTH * WIDTH
    projected = cells * (ENCODER * WIDTH + square)
    keys = LAYERS * 2 * cells * square
    context = LAYERS * 2 * square
    of_queries = (LAYERS - 1) * 2 * queries * square + 2 * square  # one query in the first layer
    outputs = LAYERS * 3 * queries * square
    head = queries * (square + WIDTH * OUT)
    assert found == B * (projected + keys + context + of_queries + outputs + head)


def test_saved_bytes_have_no_copies_per_pair():
    """Per layer: inputs of norms and products, keys, values and weights; each once."""
    module, tokens = setting()
    rows = []
    for _ in range(2):
        kept = lfst.SavedBytes([*module.parameters(), *(t.features for t in tokens.values())])
        with kept.hooks():
            module(tokens)
        rows.append(kept.total)
    assert rows[0] == rows[1]
    queries, cells, heads = B * 512, B * (512 + 64), 2
    pairs = queries * 2 * heads
    # query, mixed, normed, q | heard, mixed + heard, normed, before and after GELU | cells: normed,
    # key, value
    layer = (4 + 5) * queries * WIDTH + 3 * cells * WIDTH + pairs
    own = (LAYERS * layer + 2 * queries * WIDTH + 4 * cells * WIDTH) * 4
    assert rows[0] == pytest.approx(own, rel=0.15)


def test_linears_do_the_same_products_and_gradients():
    module, tokens = setting((32, 2))
    with lfst.Products() as products:
        module(tokens)
    flops = []
    for step in (lfst.lfst_step(module, tokens), lfst.linears_step(products, module.query)):
        with lfst.FlopCounterMode(display=False) as counter:
            step()
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]
    assert all(p.grad is None for p in module.parameters())


def test_command_line_from_end_to_end(tmp_path, capsys):
    words = "--width 16 --heads 2 --layers 1 --encoder-width 6 --out-width 10 --repeats 2"
    argv = [*words.split(), "--grid", "32x2", "64x4", "--batch", "1", "--device", "cpu", "--quiet"]
    written = lfst.main([*argv, "--out", str(tmp_path)])
    assert [path.suffix for path in written] == [".json", ".md"]
    document = json.loads(written[0].read_text("utf-8"))
    assert document["settings"]["out_width"] == 10
    assert words in document["command"]
    rows = document["rows"]
    assert [(row["grid"], row["dtype"], row["tokens"]) for row in rows] == [
        ("32x2", "float32", 96),
        ("32x2", "bfloat16", 96),
        ("64x4", "float32", 320),
        ("64x4", "bfloat16", 320),
    ]
    for row in rows:
        assert row["flops"] == row["flops_linears"] > 0
        assert row["time_over_linears"]["q1"] <= row["time_over_linears"]["q3"]
        assert "seconds" not in row  # a CPU tells ratios only
    assert rows[1]["saved_bytes"] < rows[0]["saved_bytes"]
    table = written[1].read_text("utf-8")
    assert table in capsys.readouterr().out
    assert "time / linears" in table
    assert "GPU" not in table.splitlines()[-6]


def test_mistakes_are_explained(capsys):
    with pytest.raises(SystemExit):
        lfst.main(["--grid", "64"])
    assert "such as 64x8, got '64'" in capsys.readouterr().err
