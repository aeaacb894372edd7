"""Confidence intervals by resampling clips with replacement (percentile bootstrap).

Clips are drawn with all their questions, since answers about one clip are not independent. The
interval is the spread over clips for this one model; other training seeds may lie outside.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

#: Samples at once; bounds the memory of the index matrix.
_BLOCK = 100


@dataclass(frozen=True)
class Interval:
    """A value with the limits of its confidence interval at `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    clips: Sequence[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of sum(numerators) / sum(denominators); None if all denominators are 0.

    Args:
        numerators: one per answer: 0 or 1, word errors, a loss.
        denominators: one per answer: 1, reference words.
        clips: the clip of each answer.
        draws: bootstrap samples.
    """
    sums = _by_clip(clips, numerators, denominators)
    return _interval(sums[:, :1], sums[:, 1:], draws, seed, level)


def paired_interval(
    first: tuple[Sequence[float], Sequence[float]],
    second: tuple[Sequence[float], Sequence[float]],
    clips: Sequence[Hashable],
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval | None:
    """Interval of the first ratio minus the second, on the same answers and samples (paired).

    Args:
        first: numerators and denominators, as in `ratio_interval`.
        second: of the same answers in the same order.
        clips: the clip of each answer.
    """
    sums = _by_clip(clips, *first, *second)
    return _interval(sums[:, [0, 2]], sums[:, [1, 3]], draws, seed, level)


def row_weights(clips: Sequence[Hashable], *, draws: int = 200, seed: int = 0) -> np.ndarray:
    """How often each row occurs in each bootstrap sample, `[rows, draws]` (see `resampled`).

    Args:
        clips: the clip of each row.
    """
    index = _clip_numbers(clips)
    count = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    samples = np.empty((count, draws), dtype=np.float32)
    for number in range(draws):
        samples[:, number] = np.bincount(rng.integers(0, count, count), minlength=count)
    return samples[index]


def values_interval(
    value: float | None, values: np.ndarray, *, level: float = 0.95
) -> Interval | None:
    """Interval of a metric from its values in the samples; NaN (undefined) is ignored."""
    if value is None:
        return None
    return _limits(value, values[np.isfinite(values)], level)


def _interval(
    tops: np.ndarray, bottoms: np.ndarray, draws: int, seed: int, level: float
) -> Interval | None:
    """Interval of the first column's ratio, minus that of the second if given."""
    if not (bottoms.sum(axis=0) > 0).all():
        return None
    rng, clips, found = np.random.default_rng(seed), len(tops), []
    for start in range(0, draws, _BLOCK):
        drawn = rng.integers(0, clips, (min(_BLOCK, draws - start), clips))
        found.append(_difference(tops[drawn].sum(axis=1), bottoms[drawn].sum(axis=1)))
    values = np.concatenate(found)
    value = float(_difference(tops.sum(axis=0)[None], bottoms.sum(axis=0)[None])[0])
    return _limits(value, values[np.isfinite(values)], level)


def _difference(tops: np.ndarray, bottoms: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = tops / bottoms
    return ratios[:, 0] - ratios[:, 1] if ratios.shape[1] == 2 else ratios[:, 0]


def _limits(value: float, values: np.ndarray, level: float) -> Interval | None:
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), level)


def _clip_numbers(clips: Sequence[Hashable]) -> np.ndarray:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(clip, len(numbers)) for clip in clips], dtype=np.int64)


def _by_clip(clips: Sequence[Hashable], *columns: Sequence[float]) -> np.ndarray:
    """Sums of the columns per clip, `[clips, columns]`."""
    index = _clip_numbers(clips)
    if any(len(column) != len(index) for column in columns):
        raise ValueError(
            f"{len(index)} clips and columns of {[len(c) for c in columns]}; expected equal lengths"
        )
    sums = np.zeros((index.max() + 1 if len(index) else 0, len(columns)))
    for number, column in enumerate(columns):
        np.add.at(sums[:, number], index, np.asarray(column, dtype=np.float64))
    return sums
