"""F1 and mean average precision of many bootstrap samples at once.

A sample is given by how often each row occurs in it, so that scores are sorted once for all
samples. The values equal those of `metrics.classification` on the repeated rows.

Shapes: N rows, L labels, S samples; `weights` is `[N, S]`.
"""

from __future__ import annotations

import numpy as np


def sums_by_group(weights: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """Sums of the weights of the rows of each group, `[count, S]`.

    Args:
        weights: `[N, S]`.
        groups: `[N]`, numbers below `count`.
    """
    sizes = np.bincount(groups, minlength=count)
    some = np.flatnonzero(sizes)
    sums = np.zeros((count, weights.shape[1]))
    if len(some):
        order = np.argsort(groups, kind="stable")
        starts = (np.cumsum(sizes) - sizes)[some]
        sums[some] = np.add.reduceat(weights[order], starts, axis=0)
    return sums


def average_precisions(right: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision of one label in each sample, `[S]`; NaN where it has no positive row.

    Args:
        right: 0 or 1, `[N]`.
        scores: `[N]`; rows of equal scores are counted together, as in scikit-learn.
        weights: `[N, S]`.
    """
    positive = np.flatnonzero(right)
    thresholds = np.unique(scores[positive])
    if not len(thresholds):
        return np.full(weights.shape[1], np.nan)
    # For each row, the first of the decreasing thresholds that includes it.
    place = len(thresholds) - np.searchsorted(thresholds, scores, side="right")
    inside = np.flatnonzero(place < len(thresholds))
    given = sums_by_group(weights[inside], place[inside], len(thresholds)).cumsum(axis=0)
    hits = sums_by_group(weights[positive], place[positive], len(thresholds))
    found = hits.cumsum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(given > 0, found / given, 0.0)
        return (hits * precision).sum(axis=0) / found[-1]


def mean_average_precisions(
    targets: np.ndarray, scores: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Macro mAP of each sample, `[S]`, over the labels that occur in it; NaN where none does.

    Args:
        targets: 0 or 1, `[N, L]`.
        scores: `[N, L]`.
        weights: `[N, S]`.
    """
    total, labels = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for right, of_label in zip(targets.T, np.ascontiguousarray(scores.T), strict=True):
        if right.any():
            found = average_precisions(right, of_label, weights)
            total += np.nan_to_num(found)
            labels += np.isfinite(found)
    with np.errstate(invalid="ignore"):
        return total / labels


def label_f1(
    right: np.ndarray, given: np.ndarray, labels: int, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """`macro_f1` and `micro_f1` of one label per row in each sample, `[S]`.

    Args:
        right: `[N]`, indices of the true labels.
        given: `[N]`, indices of the predicted labels; `labels` for another text, -1 for no answer.
        labels: L.
        weights: `[N, S]`.
    """
    needed = sums_by_group(weights, right, labels)
    said = given >= 0
    made = sums_by_group(weights[said], given[said], labels + 1)
    hit = given == right
    hits = sums_by_group(weights[hit], right[hit], labels)
    return _f1(hits, made[:labels], needed, made.sum(axis=0))


def multi_label_f1(
    targets: np.ndarray, given: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """`macro_f1` and `micro_f1` of several labels per row and one prediction, `[S]`.

    Args:
        targets: 0 or 1, `[N, L]`.
        given: `[N]`, indices of the predicted labels.
        weights: `[N, S]`.
    """
    labels = targets.shape[1]
    row, label = np.nonzero(targets)
    needed = sums_by_group(weights[row], label, labels)
    made = sums_by_group(weights, given, labels)
    hit = np.flatnonzero(targets[np.arange(len(given)), given])
    hits = sums_by_group(weights[hit], given[hit], labels)
    return _f1(hits, made, needed, made.sum(axis=0))


def _f1(
    hits: np.ndarray, made: np.ndarray, needed: np.ndarray, all_made: np.ndarray
) -> dict[str, np.ndarray]:
    """F1 scores; the macro mean is over the labels that occur in a sample."""
    used = needed > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        macro = np.where(used, 2 * hits / (made + needed), 0.0).sum(axis=0) / used.sum(axis=0)
        micro = 2 * hits.sum(axis=0) / (all_made + needed.sum(axis=0))
    return {"macro_f1": macro, "micro_f1": micro}
