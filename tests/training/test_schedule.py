"""pal_warmup_cosine: per step, in proportion, never stuck in its warm-up."""

from itertools import pairwise

import pytest
import torch

from pal_plugin.training.schedule import WarmupCosine, WarmupLinear


def schedule(kind=WarmupCosine, **changes):
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr_scale": s} for s in (1.0, 0.1)]
    arguments = {
        "max_epoch": 2,
        "steps_per_epoch": 50,
        "init_lr": 1.0,
        "min_lr": 0.1,
        "warmup_steps": 10,
    }
    return kind(torch.optim.SGD(groups, lr=1.0), **{**arguments, **changes})


def test_the_shape_is_a_line_up_and_half_a_cosine_down():
    rates = [schedule().at(step) for step in range(100)]
    ups = [b - a for a, b in pairwise(rates[:11])]
    assert ups == pytest.approx([1 / 11] * 10)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.55)  # halfway
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[99] == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("kind", [WarmupCosine, WarmupLinear])
def test_by_time_it_falls_as_the_time_goes_and_has_fallen_at_its_end(kind):
    """Two hundred steps were planned, and the time is over behind a hundred."""
    planned = schedule(kind, max_epoch=4)
    rates = []
    for step in range(100):
        planned.spent = step / 100
        rates.append(planned.at(step))
    assert rates[:10] == [schedule(kind).at(step) for step in range(10)]  # the warm-up as ever
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[99] == pytest.approx(0.1, abs=0.03)
    planned.spent = 1.0
    assert planned.at(100) == pytest.approx(0.1)


def test_where_steps_are_farther_than_time_they_count():
    planned = schedule()
    planned.spent = 0.25
    assert planned.at(80) == schedule().at(80)


def test_time_that_ends_in_the_warm_up_turns_it_round():
    planned = schedule(WarmupLinear)
    rates = []
    for step in range(6):
        planned.spent = step / 5
        rates.append(planned.at(step))
    assert rates[0] < rates[1] < rates[2] < rates[3] > rates[4] > rates[5] == pytest.approx(0.1)


def test_steps_count_over_epochs_and_groups_keep_their_scale():
    scheduler = schedule()
    scheduler.step(cur_epoch=1, cur_step=5)
    one, tenth = (group["lr"] for group in scheduler.optimizer.param_groups)
    assert one == scheduler.at(55)
    assert tenth == pytest.approx(one / 10)


def test_a_short_run_reaches_its_peak():
    scheduler = schedule(max_epoch=1, steps_per_epoch=4, warmup_steps=1000)
    assert max(scheduler.at(step) for step in range(4)) == 1.0
