"""Long clips: merges the windows that were encoded separately into one sequence per clip.

Design choice: of two overlapping windows, each drops the half of the overlap at its own border. So
every remaining token had at least half the overlap as context, none is duplicated or missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pal_plugin.encoders.base import AudioEncoder, AudioFeatures, encoder_of
from pal_plugin.types import AudioTokens


def check_groups(groups: Mapping[str, list[str]], features: Mapping[str, AudioFeatures]) -> None:
    """Checks that encoders of one connector have equal windows. Raises ValueError if not."""
    for group, names in groups.items():
        for key in ("window_s", "overlap_s", "max_s"):
            values = {n: getattr(features[encoder_of(n)], key) for n in names}
            if len(set(values.values())) > 1:
                raise ValueError(
                    f"encoders of one group need the same {key}; in {group!r} they have "
                    f"{values}: set it in model.encoders.NAME.features"
                )


@dataclass(frozen=True)
class Overlap:
    """The overlap of a group's windows, relative to its first encoder.

    Args:
        features: front ends of the group's encoders, with equal window and overlap.
        span_s: seconds that the encoder's time rows cover, see `AudioEncoder.span_s`.
        rows: the encoder's time rows per window; tokens if it has no grid.
    """

    features: tuple[AudioFeatures, ...]
    span_s: float
    rows: int

    def of(self, tokens: AudioTokens) -> tuple[int, int]:
        """(time rows of a connector's output, number of rows shared by neighbouring windows).

        Raises:
            ValueError: if the output's rows are not a multiple or divisor of the encoder's, or the
                overlap is not a whole, even number of rows; names valid overlaps.
        """
        count = tokens.features.shape[1]
        rows = tokens.grid[0] if tokens.grid else count
        if not tokens.grid and count % self.rows == 0:
            rows = self.rows  # several tokens per time row, such as a pooled grid
        if max(rows, self.rows) % min(rows, self.rows):
            raise ValueError(
                f"a connector outputs {rows} tokens in time for {self.rows} of its encoder; with "
                "overlap_s one must divide the other, or the outputs' times are unknown (change "
                "its pooling or grid, or set overlap_s: 0)"
            )
        first = self.features[0]
        shift = (first.window_s - first.overlap_s) * rows / self.span_s
        shared = rows - round(shift)
        if abs(shift - round(shift)) > 1e-6 * rows or shared < 0 or shared % 2:
            raise ValueError(
                f"overlap_s {first.overlap_s} is not a whole, even number of the connector's "
                f"{rows} time rows per window of {first.window_s} s; {self._fitting(rows)}"
            )
        return rows, shared

    def _fitting(self, rows: int, most: int = 6) -> str:
        window_s = self.features[0].window_s
        found = (window_s - (rows - shared) * self.span_s / rows for shared in range(0, rows, 2))
        fitting = [f"{s:.6g}" for s in found if s > 1e-6 and all(f.fits(s) for f in self.features)]
        if not fitting:
            return "only 0 is valid"
        return f"valid: {', '.join(fitting[:most])}" + ", ..." * (len(fitting) > most)


def overlap_of(
    connector: nn.Module,
    encoders: list[AudioEncoder],
    features: list[AudioFeatures],
    tokens: AudioTokens,
) -> Overlap | None:
    """The overlap for `merge_windows` in one group; None if nothing has to be dropped.

    Args:
        connector: with `in_time_order = False` (tokens that represent a whole window, such as
            those of queries) all tokens of all windows are kept.
        encoders, features: of the group, in the connector's order.
        tokens: output of the first encoder.
    """
    if not features[0].overlap_s or not getattr(connector, "in_time_order", True):
        return None
    rows = tokens.grid[0] if tokens.grid else tokens.features.shape[1]
    return Overlap(tuple(features), encoders[0].span_s, rows)


def merge_windows(
    tokens: AudioTokens, windows: Tensor, overlap: Overlap | None = None
) -> AudioTokens:
    """Concatenates the windows of each clip in temporal order.

    Args:
        tokens: `[W, N, D]`, the windows of all clips.
        windows: windows per clip, long `[C]`, with sum W.
        overlap: their overlap; None: none, or tokens without temporal order.

    Returns:
        `[C, M, D]`, M the maximum number of tokens per clip, after dropping overlaps and the
        padding of last windows; shorter clips are masked.

    Raises:
        ValueError: if the counts do not add up, or the overlap does not match the tokens.
    """
    counts = windows.tolist()
    if sum(counts) != len(tokens):
        raise ValueError(f"clips have {counts} windows, but there are {len(tokens)} rows")
    rows, shared = (1, 0) if overlap is None else overlap.of(tokens)
    if max(counts) == 1:
        return tokens.trimmed()
    columns = tokens.mask.shape[1]
    half = shared // 2 * (columns // rows)
    last = windows.cumsum(0) - 1
    ends = [columns] * len(counts) if tokens.lengths is None else tokens.lengths[last].tolist()

    def of_clips(windowed: Tensor) -> list[Tensor]:
        parts = zip(windowed.split(counts), ends, strict=True)
        return [_in_turn(clip, half, end) for clip, end in parts]

    features, mask = of_clips(tokens.features), of_clips(tokens.mask)
    lengths = torch.tensor([len(clip) for clip in mask])
    features = pad_sequence(features, batch_first=True)
    mask = pad_sequence(mask, batch_first=True)
    grid = tokens.grid and (features.shape[1] // tokens.grid[1], tokens.grid[1])
    return AudioTokens(features, mask.to(torch.bool), grid, lengths)


def joinable(tokens: AudioTokens, windows: Tensor) -> AudioTokens:
    """Tokens of overlapping windows with lengths that keep connectors from trimming: windows meet
    at length, and only a clip's last window may end early."""
    if tokens.lengths is None or int(windows.max()) == 1:
        return replace(tokens, lengths=None)
    lengths = torch.full_like(tokens.lengths, tokens.mask.shape[1])
    last = windows.cumsum(0) - 1
    lengths[last] = tokens.lengths[last]
    return replace(tokens, lengths=lengths)


def _in_turn(clip: Tensor, half: int, end: int) -> Tensor:
    """`[windows, N, ...]` of a clip -> `[remaining tokens, ...]`; its last window ends at `end`."""
    final = len(clip) - 1
    parts = [
        window[half if i else 0 : end if i == final else len(window) - half]
        for i, window in enumerate(clip)
    ]
    return torch.cat(parts)
