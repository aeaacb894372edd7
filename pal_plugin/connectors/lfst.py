"""LFST: the language-aligned and fine-grained spatiotemporal connector.

One latent token is broadcast to every cell of a time-frequency grid and updated by cross attention
with the *local* features of each grid encoder; a newline token closes each time row (PAL paper,
arXiv 2506.10423, section "LFST"; the aggregator follows Cambrian-1, arXiv 2406.16860). The output
length depends on the grid and not on the number of encoders.

The design choice: keys and values are projected on each encoder's own grid, once per cell, and
only then arranged into windows, so a cell that many queries see is projected once. The B x cells
tiny attentions are one batched product, not a loop.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pal_plugin.types import AudioTokens

Grid = tuple[int, int]


class _Window:
    """Which cells of an encoder's grid `[t, f]` a query cell of `[T, F]` looks at."""

    def __init__(self, name: str, cells: Grid, query: Grid) -> None:
        for have, want in zip(cells, query, strict=True):
            if have % want and want % have:
                raise ValueError(
                    f"encoder {name!r} has the grid {cells}, the query grid is {query}: on each "
                    "axis one must divide the other"
                )
        self.query = query
        self.size = tuple(max(1, have // want) for have, want in zip(cells, query, strict=True))
        self.repeat = tuple(max(1, want // have) for have, want in zip(cells, query, strict=True))

    def gather(self, cells: Tensor) -> Tensor:
        """`[B, t, f, ...]` -> `[B, T * F, window cells, ...]`."""
        for axis, times in zip((1, 2), self.repeat, strict=True):
            if times > 1:
                cells = cells.repeat_interleave(times, dim=axis)
        (rows, columns), (wt, wf) = self.query, self.size
        cells = cells.unflatten(2, (columns, wf)).unflatten(1, (rows, wt))
        return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)  # [B, T, wt, F, wf] -> windows


class _Layer(nn.Module):
    """One update of all query cells; the encoders' keys are softmaxed jointly."""

    def __init__(self, width: int, heads: int, windows: dict[str, _Window]) -> None:
        super().__init__()
        self.heads = heads
        self.windows = windows
        self.proj_context = nn.Linear(width, width, bias=False)
        self.proj_in = nn.Linear(2 * width, width, bias=False)
        self.norm_query = nn.LayerNorm(width)
        self.to_query = nn.Linear(width, width, bias=False)
        self.norm_kv = nn.ModuleDict({n: nn.LayerNorm(width) for n in windows})
        self.to_key = nn.ModuleDict({n: nn.Linear(width, width, bias=False) for n in windows})
        self.to_value = nn.ModuleDict({n: nn.Linear(width, width, bias=False) for n in windows})
        self.to_out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        # A place inside the window; a window of one cell needs none.
        self.position = nn.ParameterDict(
            {
                n: nn.Parameter(torch.randn(*w.size, width) * 0.02)
                for n, w in windows.items()
                if w.size != (1, 1)
            }
        )

    def forward(
        self, query: Tensor, context: Tensor, cells: dict[str, Tensor], seen: Tensor
    ) -> Tensor:
        """query `[B, Q, D]`, context `[B, D]`, cells `{name: [B, t, f, D]}`, seen `[B, Q, K]`."""
        context = self.proj_context(context)[:, None].expand_as(query)
        mixed = self.proj_in(torch.cat([query, context], dim=-1))
        q = self.to_query(self.norm_query(mixed)).unflatten(-1, (self.heads, -1))
        keys, values = [], []
        for name, window in self.windows.items():
            kv = cells[name]
            if name in self.position:
                tiles = kv.shape[1] // window.size[0], kv.shape[2] // window.size[1]
                kv = kv + self.position[name].repeat(*tiles, 1)
            kv = self.norm_kv[name](kv)
            keys.append(window.gather(self.to_key[name](kv)))
            values.append(window.gather(self.to_value[name](kv)))
        k = torch.cat(keys, dim=2).unflatten(-1, (self.heads, -1))  # [B, Q, K, H, d]
        v = torch.cat(values, dim=2).unflatten(-1, (self.heads, -1))
        scores = torch.einsum("bqhd,bqkhd->bqhk", q, k) * q.shape[-1] ** -0.5
        scores = scores.masked_fill(~seen[:, :, None], float("-inf"))
        attended = torch.einsum("bqhk,bqkhd->bqhd", scores.softmax(-1), v).flatten(2)
        return query + self.mlp(self.norm_mlp(mixed + self.to_out(attended)))


class LFST(nn.Module):
    """Fuse any number of grid encoders into a grid of LLM tokens with newlines.

    Args:
        widths: `{encoder: width}`; the first encoder gives the global context.
        grids: `{encoder: (time cells, frequency cells)}` of a full window.
        out_width: width of the LLM.
        grid: query grid (T, F); on each axis it divides or multiplies every encoder's grid.
        width: inner width.
        heads: attention heads.
        layers: number of updates.

    Raises:
        ValueError: an encoder without a grid, or grids that do not divide each other.
    """

    def __init__(
        self,
        widths: dict[str, int],
        grids: dict[str, Grid | None],
        out_width: int,
        grid: Grid = (64, 8),
        width: int = 1024,
        heads: int = 16,
        layers: int = 3,
    ) -> None:
        super().__init__()
        gridless = [name for name in widths if grids[name] is None]
        if gridless:
            raise ValueError(
                f"lfst fuses time-frequency grids, but {gridless} give plain sequences; "
                "use the mlp connector for them"
            )
        self.grid = (int(grid[0]), int(grid[1]))
        self.windows = {name: _Window(name, grids[name], self.grid) for name in widths}
        self.project = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(w, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
                )
                for name, w in widths.items()
            }
        )
        self.query = nn.Parameter(torch.randn(width) * width**-0.5)
        self.layers = nn.ModuleList(_Layer(width, heads, self.windows) for _ in range(layers))
        self.head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, out_width))
        self.newline = nn.Parameter(torch.randn(out_width) * out_width**-0.5)

    def forward(self, tokens: dict[str, AudioTokens]) -> AudioTokens:
        """`{encoder: [B, t * f, D_e]}` -> `[B, T * (F + 1), out_width]`, grid `(T, F + 1)`.

        A cell is valid if any encoder has a valid cell in its window, a newline if its row has one.
        A cell of LAION's CLAP lasts 0.3128 s and two of SSLAM's 0.32 s, so their grids drift apart
        by about 0.23 s over 10 s.
        """
        cells, valid = {}, []
        for name, window in self.windows.items():
            audio = tokens[name]
            features = torch.where(audio.mask[..., None], audio.features, 0)
            cells[name] = self.project[name](features).unflatten(1, audio.grid)
            valid.append(window.gather(audio.mask.unflatten(1, audio.grid)))
        seen = torch.cat(valid, dim=-1)  # [B, Q, K]
        mask = seen.any(-1)
        # Cells after the clip's end attend somewhere (they are masked later), or softmax gives NaN.
        seen = seen | ~mask[..., None]

        first = next(iter(self.windows))
        weight = tokens[first].mask[..., None].to(cells[first].dtype)
        context = (cells[first].flatten(1, 2) * weight).sum(1) / weight.sum(1).clamp(min=1)

        query = self.query.expand(mask.shape[0], mask.shape[1], -1)
        for layer in self.layers:
            query = layer(query, context, cells, seen)
        rows = self.head(query).unflatten(1, self.grid)
        newline = self.newline.to(rows.dtype).expand(rows.shape[0], self.grid[0], 1, -1)
        mask = mask.unflatten(1, self.grid)
        return AudioTokens(
            torch.cat([rows, newline], dim=2).flatten(1, 2),
            torch.cat([mask, mask.any(-1, keepdim=True)], dim=2).flatten(1, 2),
            (self.grid[0], self.grid[1] + 1),
        )
