"""Intervals against theory and against each other."""

import numpy as np
import pytest

from pal_plugin.evaluation.metrics.bootstrap import (
    paired_interval,
    ratio_interval,
    row_weights,
    values_interval,
)


def bits(count, share, seed=0):
    return (np.random.default_rng(seed).random(count) < share).astype(float)


def test_an_accuracys_interval_is_that_of_the_normal_approximation():
    right = bits(900, 0.7)
    found = ratio_interval(right, np.ones(900), range(900))
    half = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 900)
    assert found.value == pytest.approx(right.mean())
    assert found.low == pytest.approx(right.mean() - half, abs=0.004)
    assert found.high == pytest.approx(right.mean() + half, abs=0.004)


def test_answers_about_one_clip_are_drawn_together():
    right = np.repeat(bits(100, 0.5), 9)
    clips = np.repeat(np.arange(100), 9)
    together = ratio_interval(right, np.ones(900), clips.tolist())
    alone = ratio_interval(right, np.ones(900), range(900))
    # Nine equal answers are one observation: three times as wide.
    assert (together.high - together.low) == pytest.approx(3 * (alone.high - alone.low), rel=0.15)


def test_a_rate_weighs_long_references_more():
    found = ratio_interval([1, 50], [1, 100], ["a", "b"], draws=500)
    assert found.value == pytest.approx(51 / 101)
    assert (found.low, found.high) == (0.5, 1.0)
    assert ratio_interval([0, 0], [0, 0], ["a", "b"]) is None


def test_pairing_removes_what_both_share():
    hard = bits(400, 0.5)
    better = np.where(bits(400, 0.1, seed=1) > 0, 1.0, hard)
    ones = np.ones(400)
    found = paired_interval((better, ones), (hard, ones), range(400))
    assert found.value == pytest.approx((better - hard).mean())
    assert found.low > 0
    apart = ratio_interval(better, ones, range(400))
    assert (found.high - found.low) < 0.6 * (apart.high - apart.low)
    same = paired_interval((hard, ones), (hard, ones), range(400))
    assert (same.low, same.value, same.high) == (0.0, 0.0, 0.0)


def test_weights_give_the_same_interval_as_the_ratio():
    right = bits(300, 0.8)
    clips = [number // 3 for number in range(300)]
    by_ratio = ratio_interval(right, np.ones(300), clips, draws=400)
    weights = row_weights(clips, draws=400)
    assert weights.shape == (300, 400)
    assert (weights.sum(axis=0) == 300).all()
    assert (weights[0] == weights[2]).all()
    by_weights = values_interval(right.mean(), right @ weights / 300)
    assert by_weights.value == by_ratio.value
    assert by_weights.low == pytest.approx(by_ratio.low, abs=0.015)
    assert by_weights.high == pytest.approx(by_ratio.high, abs=0.015)
    assert values_interval(None, np.ones(3)) is None
    assert values_interval(0.5, np.full(3, np.nan)) is None


def test_seeds_repeat():
    right = bits(50, 0.5)
    first, again, other = (
        ratio_interval(right, np.ones(50), range(50), draws=150, seed=s) for s in (1, 1, 2)
    )
    assert first == again
    assert first != other
    with pytest.raises(ValueError, match="equal lengths"):
        ratio_interval([1.0], [1.0, 1.0], ["a", "b"])
