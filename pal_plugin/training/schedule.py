"""Learning rate schedules: linear warm-up, then cosine decay, linear decay or a constant, per step.

LAVIS's own schedules change once per epoch and set one rate for all groups; these count optimizer
steps and scale each parameter group by its `lr_scale`.

A run with a time limit (`run.max_minutes`) sets `spent`, the fraction of its time that has passed.
The warm-up counts steps as usual; then the rate decays by steps or by time, whichever is farther,
so that the schedule is complete when the run ends by either.
"""

from __future__ import annotations

import math

import torch


class WarmupCosine:
    """Linear warm-up and cosine decay; sets the rate of every parameter group at each step.

    Args:
        optimizer: its groups may carry `lr_scale`, a factor on the schedule (default 1).
        max_epoch, steps_per_epoch: their product is the length of the schedule in steps.
        init_lr: peak rate, after the warm-up.
        min_lr: final rate.
        warmup_start_lr: initial rate.
        warmup_steps: length of the warm-up; at most half of the schedule.
        unused: arguments of LAVIS's other schedules.

    Attributes:
        spent: fraction of the run's time that has passed, 0 to 1.
    """

    spent = 0.0

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        max_epoch: int,
        steps_per_epoch: int,
        init_lr: float,
        min_lr: float,
        warmup_start_lr: float = 0.0,
        warmup_steps: int = 0,
        **unused: object,
    ) -> None:
        self.optimizer = optimizer
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = max(1, max_epoch * steps_per_epoch)
        # A short run (a reduced setting) must not end inside its warm-up.
        self.warmup_steps = min(warmup_steps, self.total_steps // 2)
        self.init_lr, self.min_lr, self.start_lr = init_lr, min_lr, warmup_start_lr

    def at(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0 over the whole run."""
        if step < self.warmup_steps:
            share = (step + 1) / (self.warmup_steps + 1)
            rate = self.start_lr + (self.init_lr - self.start_lr) * share
            # Time may run out within the warm-up: take the lower of warm-up and decay by time.
            return min(rate, self._fallen(self.spent)) if self.spent else rate
        after = max(1, self.total_steps - self.warmup_steps)
        return self._fallen(max(self.spent, min(1.0, (step - self.warmup_steps) / after)))

    def falling(self, share: float) -> float:
        """The decay, 1 to 0, as `share` of the steps after the warm-up goes from 0 to 1."""
        return (1 + math.cos(math.pi * share)) / 2

    def _fallen(self, share: float) -> float:
        return self.min_lr + (self.init_lr - self.min_lr) * self.falling(share)

    def step(self, cur_epoch: int, cur_step: int) -> None:
        """Set the rates for step `cur_step` of epoch `cur_epoch` (LAVIS's signature)."""
        rate = self.at(cur_epoch * self.steps_per_epoch + cur_step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)


class WarmupLinear(WarmupCosine):
    """As `WarmupCosine`, with linear decay."""

    def falling(self, share: float) -> float:
        """Linear decay."""
        return 1 - share


class WarmupConstant(WarmupCosine):
    """As `WarmupCosine`, without decay."""

    def falling(self, share: float) -> float:
        """Always 1: the rate stays at `init_lr`."""
        return 1.0
