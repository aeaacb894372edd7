"""pal_warmup_cosine: per step, in proportion, never stuck in its warm-up."""

from itertools import pairwise

import pytest
import torch

from pal_plugin.training.schedule import WarmupCosine


def schedule(**changes):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr_scale": s} for s in (1.0, 0.1)]
    arguments = {
        "max_epoch": 2,
        "steps_per_epoch": 50,
        "init_lr": 1.0,
        "min_lr": 0.1,
        "warmup_steps": 10,
    }
    return WarmupCosine(torch.optim.SGD(groups, lr=1.0), **{**arguments, **changes})


def test_the_shape_is_a_line_up_and_half_a_cosine_down():
    rates = [schedule().at(step) for step in range(100)]
    ups = [b - a for a, b in pairwise(rates[:11])]
    assert ups == pytest.approx([1 / 11] * 10)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)  # halfway
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[99] == pytest.approx(0.1, abs=1e-3)


def test_steps_count_over_epochs_and_groups_keep_their_scale():
    scheduler = schedule()
    scheduler.step(cur_epoch=1, cur_step=5)
    one, tenth = (group["lr"] for group in scheduler.optimizer.param_groups)
    assert one == scheduler.at(55)
    assert tenth == pytest.approx(one / 10)


def test_a_short_run_reaches_its_peak():
    scheduler = schedule(max_epoch=1, steps_per_epoch=4, warmup_steps=1000)
    assert max(scheduler.at(step) for step in range(4)) == 1.0
