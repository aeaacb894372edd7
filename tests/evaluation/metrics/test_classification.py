"""F1, mAP and the confusion picture against counts made by hand."""

import sys

import numpy as np
import pytest

from pal_plugin.evaluation.metrics.classification import (
    f1_scores,
    mean_average_precision,
    multi_label_f1,
    plot_confusion,
)
from pal_plugin.evaluation.metrics.missing import MissingScoreError


def test_f1_of_one_label_per_clip():
    right = ["a", "a", "a", "b", "b", "c"]
    given = ["a", "a", "b", "b", None, "other"]
    # a: 2 hits of 2 given and 3 right; b: 1 of 2 given and 2 right; c: never given.
    by_label = [2 * 2 / (2 + 3), 2 * 1 / (2 + 2), 0.0]
    scores = f1_scores(right, given, ["a", "b", "c"])
    assert scores["macro_f1"] == pytest.approx(sum(by_label) / 3)
    # Given labels, one outside of the set: 5, of which 3 are right; 6 should be given.
    assert scores["micro_f1"] == pytest.approx(2 * 3 / (5 + 6))


def average_precision(right, scores):
    """Mean over the positives of the precision at their rank, counted one by one."""
    order = np.argsort(-scores)
    hits, total = 0, 0.0
    for rank, clip in enumerate(order, 1):
        if right[clip]:
            hits += 1
            total += hits / rank
    return total / hits


def test_map_is_the_mean_of_the_labels_that_occur():
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 6)) < 0.3).astype(int)
    targets[:, 4] = 0
    scores = rng.standard_normal((40, 6))
    used = [average_precision(targets[:, i], scores[:, i]) for i in (0, 1, 2, 3, 5)]
    assert mean_average_precision(targets, scores) == pytest.approx(np.mean(used))
    assert mean_average_precision(targets * 0, scores) is None


def test_scores_that_rank_nothing_are_an_error():
    targets = np.array([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="finite"):
        mean_average_precision(targets, np.full((2, 2), np.nan))
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        mean_average_precision(targets, np.zeros((2, 3)))


def test_f1_of_several_labels_per_clip():
    targets = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0]])
    given = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    scores = multi_label_f1(targets, given)
    assert scores["micro_f1"] == pytest.approx(2 * 2 / (3 + 4))
    # The third label is never right and is not averaged.
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 2 / 3) / 2)


def test_the_confusion_matrix_is_a_picture(tmp_path):
    from PIL import Image

    path = tmp_path / "confusion.png"
    plot_confusion(path, ["a", "a", "b"], ["a", "b", "elsewhere"], ["a", "b"], "title")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 200
        assert len(set(picture.convert("L").tobytes())) > 20
    with pytest.raises(MissingScoreError, match="too many for a plot"):
        plot_confusion(path, ["a"], ["a"], [str(i) for i in range(200)], "title")


def test_without_scikit_learn_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    with pytest.raises(MissingScoreError, match=r"pip install 'pal-plugin\[eval\]'"):
        f1_scores(["a"], ["a"], ["a"])
