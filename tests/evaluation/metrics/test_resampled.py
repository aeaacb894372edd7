"""Figures of many samples at once equal scikit-learn's on the rows repeated one by one."""

import numpy as np
import pytest

from pal_plugin.evaluation.metrics import resampled
from pal_plugin.evaluation.metrics.bootstrap import row_weights, values_interval
from pal_plugin.evaluation.metrics.classification import (
    f1_scores,
    mean_average_precision,
    multi_label_f1,
)

ROWS, LABELS, DRAWS = 60, 7, 40


@pytest.fixture
def table():
    """Targets, scores with many ties, and the rows of each sample one by one."""
    rng = np.random.default_rng(3)
    targets = (rng.random((ROWS, LABELS)) < 0.15).astype(int)
    targets[:, 5] = 0
    targets[:, 6] = np.arange(ROWS) == 9  # a label that many samples lack
    scores = np.round(targets * 0.6 + rng.standard_normal((ROWS, LABELS)), 1)
    weights = row_weights(range(ROWS), draws=DRAWS)
    samples = [np.repeat(np.arange(ROWS), weights[:, s].astype(int)) for s in range(DRAWS)]
    return targets, scores, weights, samples


def test_map(table):
    targets, scores, weights, samples = table
    found = resampled.mean_average_precisions(targets, scores, weights)
    expected = [mean_average_precision(targets[rows], scores[rows]) for rows in samples]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    whole = resampled.mean_average_precisions(targets, scores, np.ones((ROWS, 1), np.float32))
    assert whole[0] == pytest.approx(mean_average_precision(targets, scores))
    assert np.isnan(resampled.mean_average_precisions(0 * targets, scores, weights)).all()


def test_f1_of_several_labels(table):
    targets, scores, weights, samples = table
    said = scores.argmax(axis=1)
    given = np.eye(LABELS, dtype=int)[said]
    found = resampled.multi_label_f1(targets, said, weights)
    for kind in ("macro_f1", "micro_f1"):
        expected = [multi_label_f1(targets[rows], given[rows])[kind] for rows in samples]
        np.testing.assert_allclose(found[kind], expected, atol=1e-6)


def test_f1_of_one_label(table):
    _, _, weights, samples = table
    rng = np.random.default_rng(0)
    right = rng.integers(0, 4, ROWS)
    # 4: a text that is no label; -1: no answer.
    given = np.where(rng.random(ROWS) < 0.5, right, rng.integers(-1, 5, ROWS))
    names = np.array(["a", "b", "c", "d", "elsewhere", ""])
    found = resampled.label_f1(right, given, 4, weights)
    for number, rows in enumerate(samples):
        references, predictions = names[right[rows]], names[given[rows]]
        expected = f1_scores(references.tolist(), predictions.tolist(), sorted(set(references)))
        for kind, values in found.items():
            assert values[number] == pytest.approx(expected[kind], abs=1e-6)


def test_the_interval_is_that_of_the_samples_one_by_one(table):
    targets, scores, _, _ = table
    clips = [number // 2 for number in range(ROWS)]
    rng = np.random.default_rng(0)
    one_by_one = []
    for _ in range(200):
        drawn = rng.integers(0, ROWS // 2, ROWS // 2)
        rows = np.concatenate([[2 * clip, 2 * clip + 1] for clip in drawn])
        one_by_one.append(mean_average_precision(targets[rows], scores[rows]))
    values = resampled.mean_average_precisions(targets, scores, row_weights(clips, draws=200))
    found = values_interval(0.5, values)
    expected = np.quantile(one_by_one, [0.025, 0.975])
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-6)
