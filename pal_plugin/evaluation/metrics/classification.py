"""Classification metrics by scikit-learn: F1, mean average precision, the confusion matrix.

Accuracy needs no package and is computed by the evaluators.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pal_plugin.evaluation.metrics.missing import MissingScoreError

_HOW = "scikit-learn is not installed: pip install 'pal-plugin[eval]'"
#: More labels than this are unreadable in a plot.
LARGEST_PICTURE = 80


def f1_scores(
    references: Sequence[str], predictions: Sequence[str | None], labels: Sequence[str]
) -> dict[str, float]:
    """`macro_f1` over the labels, and `micro_f1`, of one label per clip.

    Args:
        references: true labels.
        predictions: predicted labels; None or one that is not in `labels` counts as wrong.
        labels: to average over. A label that never occurs on either side counts as 0.

    Raises:
        MissingScoreError: scikit-learn is not installed.
    """
    metrics = _sklearn()
    given = ["" if p is None else p for p in predictions]
    # The micro average includes all predictions, or wrong ones outside of `labels` would not count.
    counted = {"macro": list(labels), "micro": sorted({*labels, *references, *given} - {""})}
    scores = {
        f"{kind}_f1": metrics.f1_score(
            list(references), given, labels=over, average=kind, zero_division=0
        )
        for kind, over in counted.items()
    }
    return {name: float(value) for name, value in scores.items()}


def multi_label_f1(targets: np.ndarray, given: np.ndarray) -> dict[str, float]:
    """`macro_f1` and `micro_f1` of several labels per clip.

    Args:
        targets: true labels, 0 or 1, `[clips, labels]`; labels without a positive clip are excluded
            from the macro mean.
        given: predicted labels, of the same shape.

    Raises:
        MissingScoreError: scikit-learn is not installed.
    """
    metrics = _sklearn()
    used = targets.any(axis=0)
    macro = metrics.f1_score(targets[:, used], given[:, used], average="macro", zero_division=0)
    micro = metrics.f1_score(targets, given, average="micro", zero_division=0)
    return {"macro_f1": float(macro), "micro_f1": float(micro)}


def mean_average_precision(targets: np.ndarray, scores: np.ndarray) -> float | None:
    """Macro mAP: the mean of the labels' average precisions, as FSD50K and AudioSet report it.

    Args:
        targets: true labels, 0 or 1, `[clips, labels]`; labels without a positive clip have no
            average precision and are excluded.
        scores: `[clips, labels]`, any real numbers; larger means more likely.

    Returns:
        None if no label has a positive clip.

    Raises:
        MissingScoreError: scikit-learn is not installed.
        ValueError: shapes that differ, or scores that are not finite.
    """
    if targets.shape != scores.shape:
        raise ValueError(f"targets are {targets.shape} and scores {scores.shape}; expected equal")
    if not np.isfinite(scores).all():
        raise ValueError("scores contain NaN or infinite values; expected finite numbers")
    used = targets.any(axis=0)
    if not used.any():
        return None
    metrics = _sklearn()
    precision = metrics.average_precision_score(targets[:, used], scores[:, used], average="macro")
    return float(precision)


def plot_confusion(
    path: Path,
    references: Sequence[str],
    predictions: Sequence[str | None],
    labels: Sequence[str],
    title: str,
) -> None:
    """Plot the confusion matrix: a row per true label, normalized by row.

    The last column, "(other)", is for predictions outside `labels`.

    Raises:
        MissingScoreError: matplotlib or scikit-learn is not installed, or too many labels.
    """
    if len(labels) > LARGEST_PICTURE:
        raise MissingScoreError(
            f"{len(labels)} labels are too many for a plot (at most {LARGEST_PICTURE}); "
            "result/*.jsonl has every answer"
        )
    metrics = _sklearn()
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingScoreError(
            "matplotlib is not installed: pip install 'pal-plugin[demo]'"
        ) from None
    known = set(labels)
    given = [p if p in known else "(other)" for p in predictions]
    names = [*labels, "(other)"]
    counts = metrics.confusion_matrix(list(references), given, labels=names)[: len(labels)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.28 * len(names)
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="given", ylabel="right", title=title)
    if len(labels) <= 20:
        for row, column in np.argwhere(counts):
            dark = shares[row, column] > 0.5
            axes.text(
                column, row, str(counts[row, column]), ha="center", va="center", fontsize=7,
                color="white" if dark else "black",
            )  # fmt: skip
    figure.colorbar(image, label="share of the row", shrink=0.8)
    figure.savefig(path, dpi=120)


def _sklearn():
    try:
        import sklearn.metrics
    except ImportError:
        raise MissingScoreError(_HOW) from None
    return sklearn.metrics
