"""LFST: the language-aligned and fine-grained spatiotemporal connector.

One latent query is broadcast to every cell of a time-frequency grid and updated by cross-attention
to the *local* features of each grid encoder; a newline token ends each time row (PAL paper,
arXiv 2506.10423, section "LFST"; the aggregator follows Cambrian-1, arXiv 2406.16860). The output
length depends on the grid, not on the number of encoders.

Design choice: nothing is computed or stored twice. Keys and values are projected on each encoder's
own grid, and a cell seen by many queries is paired with them by broadcasting instead of copying;
what all cells share (the context, the first layer's query) is projected once per clip. The
B x cells tiny attentions are batched elementwise products, not a loop.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pal_plugin.types import AudioTokens

Grid = tuple[int, int]


class _Window:
    """Maps a query cell of grid `[T, F]` to the cells of an encoder's grid `[t, f]` it attends to.

    Along each axis, a tile is either one query cell with `size` encoder cells, or `repeat` query
    cells with one encoder cell. Trimmed tokens have fewer tiles in time.
    Queries and cells are both viewed as `[B, tiles, repeat, size, tiles, repeat, size, ...]`, with
    size 1 where the other repeats, so that products pair them by broadcasting.
    """

    def __init__(self, name: str, cells: Grid, query: Grid) -> None:
        for have, want in zip(cells, query, strict=True):
            if have % want and want % have:
                raise ValueError(
                    f"encoder {name!r} has the grid {cells}, the query grid is {query}; expected "
                    "one to divide the other along each axis"
                )
        self.tiles = tuple(min(have, want) for have, want in zip(cells, query, strict=True))
        self.size = tuple(max(1, have // want) for have, want in zip(cells, query, strict=True))
        self.repeat = tuple(max(1, want // have) for have, want in zip(cells, query, strict=True))

    def of_queries(self, query: Tensor) -> Tensor:
        """`[B, T * F, ...]` -> the view above; `[B, 1, ...]` is one query shared by all cells."""
        if query.shape[1] == 1:
            return query[:, None, None, None, None, None]
        (_, tf), (rt, rf) = self.tiles, self.repeat
        return query.unflatten(1, (-1, rt, 1, tf, rf, 1))

    def of_cells(self, cells: Tensor) -> Tensor:
        """`[B, t, f, ...]` -> the view above."""
        (_, tf), (wt, wf) = self.tiles, self.size
        return cells.unflatten(2, (tf, 1, wf)).unflatten(1, (-1, 1, wt))

    def of_window(self, places: Tensor) -> Tensor:
        """One value per position in the window, `[wt, wf, ...]` -> the view above."""
        return places[None, None, None, :, None, None]

    def by_query(self, pairs: Tensor) -> Tensor:
        """Pairs in the view above -> `[B, T * F, window cells, ...]`."""
        (_, tf), (rt, rf), (wt, wf) = self.tiles, self.repeat, self.size
        pairs = pairs.expand(-1, -1, rt, wt, tf, rf, wf, *pairs.shape[7:])
        return pairs.movedim(3, 5).flatten(5, 6).flatten(1, 4)

    def by_pair(self, windows: Tensor) -> Tensor:
        """Inverse of `by_query`."""
        (_, tf), (rt, rf) = self.tiles, self.repeat
        return windows.unflatten(2, self.size).unflatten(1, (-1, rt, tf, rf)).movedim(5, 3)

    def sum(self, pairs: Tensor) -> Tensor:
        """Sums pairs with one key or value each over the window -> `[B, T * F, ...]`.

        Sums one axis at a time: summing both, or one of size 1, is ten times slower on a CPU.
        """
        for axis, size in ((6, self.size[1]), (3, self.size[0])):
            pairs = pairs.sum(axis) if size > 1 else pairs.squeeze(axis)
        return pairs.flatten(1, 4)


class _Layer(nn.Module):
    """One update of all query cells; softmax runs over the keys of all encoders jointly."""

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
        # Position in the window; a window of one cell needs none.
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
        """Updates the queries.

        Args:
            query: `[B, Q, D]`, or `[B, 1, D]` if shared by all cells.
            context: `[B, 1, D]`.
            cells: `{name: [B, t, f, D]}`.
            seen: bool `[B, Q, K]`, the valid keys of each query.

        Returns:
            `[B, Q, D]`.
        """
        # proj_in([query; context]); the context is shared by all cells, so it is projected once.
        # Splitting the transpose by rows joins the halves' gradients without the slow copy of a
        # transposed one.
        of_query, of_context = self.proj_in.weight.t().split(query.shape[-1])
        mixed = F.linear(query, of_query.t()) + F.linear(self.proj_context(context), of_context.t())
        attended = self._attend(self.to_query(self.norm_query(mixed)), cells, seen)
        return query + self.mlp(self.norm_mlp(mixed + self.to_out(attended)))

    def _attend(self, query: Tensor, cells: dict[str, Tensor], seen: Tensor) -> Tensor:
        """Elementwise products: a head has few keys, and no key is copied per query."""
        query = query.unflatten(-1, (self.heads, -1))
        scores, values = [], {}
        for name, window in self.windows.items():
            kv = window.of_cells(cells[name])
            if name in self.position:
                kv = kv + window.of_window(self.position[name])
            kv = self.norm_kv[name](kv)
            key = self.to_key[name](kv).unflatten(-1, (self.heads, -1))
            values[name] = self.to_value[name](kv).unflatten(-1, (self.heads, -1))
            scores.append(window.by_query((window.of_queries(query) * key).sum(-1)))
        joint = torch.cat(scores, dim=2) * query.shape[-1] ** -0.5  # [B, Q, K, H]
        weights = joint.masked_fill(~seen[..., None], float("-inf")).softmax(2)
        of_encoder = weights.split([part.shape[2] for part in scores], dim=2)
        heard = [
            window.sum(window.by_pair(part)[..., None] * values[name])
            for (name, window), part in zip(self.windows.items(), of_encoder, strict=True)
        ]
        return sum(heard[1:], heard[0]).flatten(2)


class LFST(nn.Module):
    """Fuses any number of grid encoders into a grid of LLM tokens with newlines.

    Args:
        widths: `{encoder: width}`; the first encoder provides the global context.
        grids: `{encoder: (time cells, frequency cells)}` of a full window.
        out_width: embedding width of the LLM.
        grid: query grid (T, F); divides or is a multiple of every encoder's grid along each axis.
        width: hidden width.
        heads: number of attention heads.
        layers: number of updates.

    Raises:
        ValueError: if an encoder has no grid, grids do not divide each other, or `width` is not
            divisible by `heads`.
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
                f"lfst fuses time-frequency grids, but {gridless} output plain sequences; "
                "use the mlp or qformer connector for them"
            )
        if width % heads:
            raise ValueError(f"lfst: width {width} is not divisible by heads {heads}")
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
        """`{encoder: [B, t * f, D_e]}` -> `[B, T * (F + 1), out_width]`, grid `(T, F + 1)`; T
        covers the longest clip of the batch, in whole cells of every encoder.

        A cell is valid if any encoder has a valid cell in its window; a newline if its row has one.
        A cell of LAION's CLAP lasts 0.3128 s and two of SSLAM's 0.32 s, so their grids drift apart
        by about 0.23 s over 10 s.
        """
        tokens, rows = self._trimmed(tokens)
        cells, valid = {}, []
        for name, window in self.windows.items():
            audio = tokens[name]
            features = torch.where(audio.mask[..., None], audio.features, 0)
            cells[name] = self.project[name](features).unflatten(1, audio.grid)
            valid.append(window.by_query(window.of_cells(audio.mask.unflatten(1, audio.grid))))
        seen = torch.cat(valid, dim=-1)  # [B, Q, K]
        mask = seen.any(-1)
        # Cells after the clip's end must attend to something (masked later), or softmax gives NaN.
        seen = seen | ~mask[..., None]

        first = next(iter(self.windows))
        weight = tokens[first].mask[..., None].to(cells[first].dtype)
        context = (cells[first].flatten(1, 2) * weight).sum(1, keepdim=True)
        context = context / weight.sum(1, keepdim=True).clamp(min=1)

        # All cells share the initial query: the first layer computes it once per clip.
        query = self.query.expand(len(mask), 1, -1)
        for layer in self.layers:
            query = layer(query, context, cells, seen)
        row = self.grid[1] + 1
        made = self.head(query).unflatten(1, (-1, self.grid[1]))
        newline = self.newline.to(made.dtype).expand(*made.shape[:2], 1, -1)
        mask = mask.unflatten(1, (-1, self.grid[1]))
        return AudioTokens(
            torch.cat([made, newline], dim=2).flatten(1, 2),
            torch.cat([mask, mask.any(-1, keepdim=True)], dim=2).flatten(1, 2),
            (made.shape[1], row),
            None if rows is None else rows * row,
        )

    def _trimmed(
        self, tokens: dict[str, AudioTokens]
    ) -> tuple[dict[str, AudioTokens], Tensor | None]:
        """Tokens trimmed to the longest clip, and the number of query time rows per clip; None if
        an encoder does not report lengths."""
        if any(tokens[name].lengths is None for name in self.windows):
            return tokens, None
        needed = []
        for name, window in self.windows.items():
            cells = tokens[name].lengths // tokens[name].grid[1]
            needed.append(-(-cells // window.size[0]) * window.repeat[0])
        rows = torch.stack(needed).amax(0)
        unit = math.lcm(*(window.repeat[0] for window in self.windows.values()))
        kept = -(-int(rows.max()) // unit) * unit
        return {
            name: tokens[name].cut(kept * window.size[0] // window.repeat[0])
            for name, window in self.windows.items()
        }, rows
