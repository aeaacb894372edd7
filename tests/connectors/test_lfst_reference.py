"""LFST against its definition, written out cell by cell in float64."""

import itertools
import math

import pytest
import torch

from pal_plugin.connectors import LFST
from pal_plugin.types import AudioTokens

INNER, HEADS, LAYERS, OUT = 8, 2, 2, 6
SSLAM_CLAP = {"sslam": (5, (64, 8)), "clap": (4, (32, 2))}
#: (query grid, {encoder: (width, grid)}): the paper's encoders on all grids, then windows that are
#: wide, tall or both, smaller and larger than a query cell on either axis, and three encoders.
CASES = [
    ((64, 8), SSLAM_CLAP),
    ((64, 4), SSLAM_CLAP),
    ((32, 8), SSLAM_CLAP),
    ((32, 2), SSLAM_CLAP),
    ((16, 1), SSLAM_CLAP),
    ((4, 4), {"wide": (5, (4, 8)), "tall": (4, (8, 4)), "both": (3, (8, 16))}),
    ((4, 4), {"tall_in_time": (5, (8, 2)), "wide_in_frequency": (4, (2, 8))}),
    ((1, 1), {"one": (5, (2, 3))}),
]
#: Seconds of 10 that belong to the clip: all, the end inside of a cell, one frame.
SECONDS = (10.0, 3.2, 0.01)


def connector(grid, encoders):
    torch.manual_seed(0)
    widths = {name: width for name, (width, _) in encoders.items()}
    grids = {name: cells for name, (_, cells) in encoders.items()}
    lfst = LFST(widths, grids, OUT, grid=grid, width=INNER, heads=HEADS, layers=LAYERS)
    for parameter in lfst.parameters():  # or biases, norms and positions would hardly matter
        parameter.data += 0.2 * torch.randn_like(parameter)
    return lfst


def clips(encoders):
    """Each encoder marks its own cells that hold a part of the clip; the others are NaN."""
    torch.manual_seed(1)
    tokens = {}
    for name, (width, (t, f)) in encoders.items():
        rows = torch.tensor([math.ceil(t * s / 10) for s in SECONDS])
        mask = (torch.arange(t) < rows[:, None])[..., None].expand(-1, -1, f).flatten(1)
        features = torch.randn(len(SECONDS), t * f, width)
        tokens[name] = AudioTokens(features.masked_fill(~mask[..., None], torch.nan), mask, (t, f))
    return tokens


def covered(place, cells, queries):
    """The encoder's cells on one axis that share time (or frequency) with a query cell."""
    start, stop = place / queries, (place + 1) / queries
    return [c for c in range(cells) if c / cells < stop - 1e-9 and (c + 1) / cells > start + 1e-9]


class Reference:
    """One clip at a time, one query cell at a time.

    Args:
        weights: LFST's state dict in float64.
    """

    def __init__(self, weights, grid, encoders):
        self.w, self.grid, self.encoders = weights, grid, encoders

    def linear(self, x, name):
        out = self.w[f"{name}.weight"] @ x
        return out + self.w[f"{name}.bias"] if f"{name}.bias" in self.w else out

    def norm(self, x, name):
        scaled = (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def mlp(self, x, name):
        x = self.linear(x, f"{name}.0")
        return self.linear(0.5 * x * (1 + torch.erf(x / math.sqrt(2))), f"{name}.2")

    def clip(self, features, masks):
        """`{encoder: [t * f, D]}`, `{encoder: [t * f]}` -> `[T, F + 1, OUT]`, `[T, F + 1]`."""
        projected = {}
        for name, (_, (_, columns)) in self.encoders.items():
            for place in masks[name].nonzero().flatten().tolist():
                x = self.norm(
                    self.mlp(features[name][place], f"project.{name}"), f"project.{name}.3"
                )
                projected[name, place // columns, place % columns] = x
        first = next(iter(self.encoders))
        own = [x for (name, _, _), x in projected.items() if name == first]
        context = sum(own) / len(own)
        rows, valid = [], []
        for t in range(self.grid[0]):
            row = [self.cell(t, f, projected, context) for f in range(self.grid[1])]
            there = [x is not None for x in row]
            valid.append([*there, any(there)])
            rows += [torch.zeros(OUT).double() if x is None else x for x in row]
            rows.append(self.w["newline"])
        return torch.stack(rows), torch.tensor(valid).flatten()

    def cell(self, t, f, projected, context):
        """One output token; None where no encoder has a valid cell."""
        seen = []
        for name, (_, (rows, columns)) in self.encoders.items():
            times = covered(t, rows, self.grid[0])
            bands = covered(f, columns, self.grid[1])
            for i, j in itertools.product(range(len(times)), range(len(bands))):
                if (name, times[i], bands[j]) in projected:
                    place = (i, j) if len(times) * len(bands) > 1 else None
                    seen.append((name, place, projected[name, times[i], bands[j]]))
        if not seen:
            return None
        q = self.w["query"]
        for layer in range(LAYERS):
            q = self.update(q, context, seen, f"layers.{layer}")
        return self.mlp(q, "head")

    def update(self, q, context, seen, layer):
        context = self.linear(context, f"{layer}.proj_context")
        mixed = self.linear(torch.cat([q, context]), f"{layer}.proj_in")
        query = self.linear(self.norm(mixed, f"{layer}.norm_query"), f"{layer}.to_query")
        keys, values = [], []
        for name, place, x in seen:
            if place is not None:
                x = x + self.w[f"{layer}.position.{name}"][place]
            x = self.norm(x, f"{layer}.norm_kv.{name}")
            keys.append(self.linear(x, f"{layer}.to_key.{name}"))
            values.append(self.linear(x, f"{layer}.to_value.{name}"))
        heads = zip(
            query.view(HEADS, -1),
            torch.stack(keys).view(len(seen), HEADS, -1).unbind(1),
            torch.stack(values).view(len(seen), HEADS, -1).unbind(1),
            strict=True,
        )
        heard = [(k @ q_ / math.sqrt(len(q_))).softmax(0) @ v for q_, k, v in heads]
        attended = self.linear(torch.cat(heard), f"{layer}.to_out")
        return q + self.mlp(self.norm(mixed + attended, f"{layer}.norm_mlp"), f"{layer}.mlp")


@pytest.mark.parametrize(("grid", "encoders"), CASES)
@torch.no_grad()
def test_equals_the_definition_cell_by_cell(grid, encoders):
    lfst, tokens = connector(grid, encoders), clips(encoders)
    output = lfst(tokens)
    assert output.features.isfinite().all()
    weights = {name: value.double() for name, value in lfst.state_dict().items()}
    reference = Reference(weights, grid, encoders)
    for clip in range(len(SECONDS)):
        expected, valid = reference.clip(
            {name: part.features[clip].double() for name, part in tokens.items()},
            {name: part.mask[clip] for name, part in tokens.items()},
        )
        assert torch.equal(output.mask[clip], valid)
        torch.testing.assert_close(
            output.features[clip][valid].double(), expected[valid], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("grid", "encoders"), CASES)
def test_positions_exist_where_a_window_is_larger_than_a_cell(grid, encoders):
    sizes = {
        name: tuple(max(1, c // q) for c, q in zip(cells, grid, strict=True))
        for name, (_, cells) in encoders.items()
    }
    for layer in connector(grid, encoders).layers:
        found = {name: tuple(p.shape) for name, p in layer.position.items()}
        assert found == {n: (*size, INNER) for n, size in sizes.items() if size != (1, 1)}


def test_attention_and_its_inputs_have_no_bias():
    names = {name for name, _ in connector((64, 8), SSLAM_CLAP).named_parameters()}
    attention = ("proj_in", "proj_context", "to_query", "to_key.", "to_value.", "to_out")
    linears = {name for name in names if any(part in name for part in attention)}
    assert linears
    assert not [name for name in linears if name.endswith("bias")]
