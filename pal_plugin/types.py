"""The one type that encoders, connectors and integrations exchange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class AudioTokens:
    """A sequence of audio tokens with a padding mask.

    Args:
        features: `[B, N, D]` floating point.
        mask: `[B, N]` bool, True for valid tokens, False for padding.
        grid: `(time cells, cells per time row)` if the sequence is a time-major grid, so that
            token `n` is `(n // row, n % row)`; None for a plain sequence. LFST ends each row
            with a newline token, which counts as a cell of the row.
        lengths: long `[B]` on the CPU: row b is padding from column `lengths[b]` on, in whole time
            rows if there is a grid. None: unknown. Lets `trimmed` cut without a device
            synchronization; validity is only defined by the mask.
        hidden: `[B, N]` bool or None, True for valid tokens that are not attended to but count for
            the positions of others (`hiding`).

    Raises:
        ValueError: if shapes do not match, or the mask is not bool.
    """

    features: Tensor
    mask: Tensor
    grid: tuple[int, int] | None = None
    lengths: Tensor | None = None
    hidden: Tensor | None = None

    def __post_init__(self) -> None:
        if self.features.dim() != 3:
            raise ValueError(
                f"AudioTokens.features must be [B, N, D], got {tuple(self.features.shape)}"
            )
        if self.mask.dtype != torch.bool or self.mask.shape != self.features.shape[:2]:
            raise ValueError(
                f"AudioTokens.mask must be bool {tuple(self.features.shape[:2])}, "
                f"got {self.mask.dtype} {tuple(self.mask.shape)}"
            )
        if self.grid is not None and self.grid[0] * self.grid[1] != self.features.shape[1]:
            raise ValueError(
                f"AudioTokens.grid {self.grid} has {self.grid[0] * self.grid[1]} cells, "
                f"but there are {self.features.shape[1]} tokens"
            )
        if self.lengths is not None and self.lengths.shape != self.mask.shape[:1]:
            raise ValueError(
                f"AudioTokens.lengths must be [{len(self.mask)}], got {tuple(self.lengths.shape)}"
            )

    def __len__(self) -> int:
        return self.features.shape[0]

    def cells(self) -> Tensor:
        """Features as `[B, time, row, D]`. Raises ValueError if there is no grid."""
        if self.grid is None:
            raise ValueError("these AudioTokens have no time-frequency grid")
        return self.features.unflatten(1, self.grid)

    def select(self, index: Tensor) -> AudioTokens:
        """Rows `index` (long `[R]`), e.g. for several questions about one clip."""
        lengths = None if self.lengths is None else self.lengths[index.to(self.lengths.device)]
        index = index.to(self.mask.device)
        return replace(
            self,
            features=self.features[index],
            mask=self.mask[index],
            lengths=lengths,
            hidden=None if self.hidden is None else self.hidden[index],
        )

    def arranged(self, index: Tensor) -> AudioTokens:
        """Concatenates the clips `index` (long `[B, K]`, -1 for none) of each conversation:
        `[B, K N, D]`; no grid."""
        index = index.to(self.mask.device)
        mask = (self.mask[index] & (index >= 0)[..., None]).flatten(1)
        hidden = None if self.hidden is None else self.hidden[index].flatten(1)
        return AudioTokens(self.features[index].flatten(1, 2), mask, hidden=hidden)

    def hiding(self, columns: Tensor) -> AudioTokens:
        """A copy with `columns` (bool `[N]` or `[B, N]`) hidden from attention; positions of others
        are unchanged, while masking a column shifts the following ones."""
        columns = columns.to(self.mask.device).expand(self.mask.shape)
        return replace(self, hidden=columns if self.hidden is None else self.hidden | columns)

    def pooled(self, count: int) -> AudioTokens:
        """Means of `count` neighbours, over valid (and not hidden) ones; no grid."""
        if count == 1:
            return self
        heard = self.mask if self.hidden is None else self.mask & ~self.hidden
        runs, weights = runs_of(self.mask, count), runs_of(heard, count)[..., None]
        features = torch.where(weights, runs_of(self.features, count), 0).sum(2)
        features = features / weights.sum(2).clamp(min=1)
        lengths = None if self.lengths is None else -(-self.lengths // count)
        mask = runs.any(-1)
        hidden = None if self.hidden is None else mask & ~weights[..., 0].any(-1)
        return AudioTokens(features, mask, None, lengths, hidden)

    def trimmed(self, multiple: int = 1) -> AudioTokens:
        """Removes the columns that are padding in every row.

        Args:
            multiple: keeps a multiple of this many columns (time rows if there is a grid).
        """
        if self.lengths is None:
            return self
        row = self.grid[1] if self.grid else 1
        return self.cut(-(-int(self.lengths.max()) // (multiple * row)) * multiple)

    def cut(self, cells: int) -> AudioTokens:
        """Keeps the first `cells` columns, or time rows if there is a grid."""
        row = self.grid[1] if self.grid else 1
        if cells * row >= self.mask.shape[1]:
            return self
        lengths = None if self.lengths is None else self.lengths.clamp(max=cells * row)
        features, mask = self.features[:, : cells * row], self.mask[:, : cells * row]
        hidden = None if self.hidden is None else self.hidden[:, : cells * row]
        return AudioTokens(features, mask, self.grid and (cells, row), lengths, hidden)

    def padded(self, multiple: int) -> AudioTokens:
        """Pads with masked columns to a multiple; drops the grid if any are added."""
        missing = -self.mask.shape[1] % multiple
        if not missing:
            return self
        features, mask = pad(self.features, (0, 0, 0, missing)), pad(self.mask, (0, missing))
        hidden = None if self.hidden is None else pad(self.hidden, (0, missing))
        return AudioTokens(features, mask, None, self.lengths, hidden)

    @staticmethod
    def stacked(parts: Sequence[AudioTokens]) -> AudioTokens:
        """Stacks clips to `[B1 + B2 + ..., N, D]`, padded to the longest; no grid."""
        most = max(part.mask.shape[1] for part in parts)
        # Padding to a multiple of the longest pads exactly to it.
        wide = [part.padded(most) if part.mask.shape[1] else part for part in parts]
        return AudioTokens(torch.cat([w.features for w in wide]), torch.cat([w.mask for w in wide]))

    @staticmethod
    def concat(parts: list[AudioTokens]) -> AudioTokens:
        """Concatenates along the sequence; keeps grid and lengths only of a single part."""
        if len(parts) == 1:
            return parts[0]
        hidden = None
        if any(p.hidden is not None for p in parts):
            all_of = [torch.zeros_like(p.mask) if p.hidden is None else p.hidden for p in parts]
            hidden = torch.cat(all_of, dim=1)
        return AudioTokens(
            torch.cat([p.features for p in parts], dim=1),
            torch.cat([p.mask for p in parts], dim=1),
            hidden=hidden,
        )


def runs_of(tensor: Tensor, count: int) -> Tensor:
    """`[B, N, ...]` -> `[B, ceil(N / count), count, ...]`, zero-padded (False) at the end."""
    missing = -tensor.shape[1] % count
    if missing:
        rest = tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])
        tensor = torch.cat([tensor, rest], dim=1)
    return tensor.unflatten(1, (-1, count))
