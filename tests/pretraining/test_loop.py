"""The schedule, and losses that are not finite."""

import itertools

import pytest
import torch

from pal_plugin.pretraining import loop


def test_the_schedule_warms_up_and_falls():
    rates = [loop.warmup_cosine(step, 100, 10) for step in range(100)]
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)


def test_a_loss_that_is_not_finite_stops():
    layer = torch.nn.Linear(1, 1)
    batches = itertools.repeat(torch.tensor([[float("nan")]]))
    with pytest.raises(FloatingPointError, match="at step 0"):
        loop.fit(layer, batches, lambda b: layer(b).sum(), steps=2, lr=0.1)
