"""Learning rate: linear warm-up, then half a cosine, a line or a constant, stepped per batch.

LAVIS's own schedules move once per epoch and set one rate for all groups; this one counts steps,
and a parameter group's `lr_scale` (or an absolute peak `lr`) is kept in proportion.

A run that ends by time (`run.max_minutes`) sets `spent`, the part of its time that is over. The
warm-up counts steps as ever; then the rate falls by steps or by time, whichever is farther, so that
it has fallen when the run ends, by either.
"""

from __future__ import annotations

import math

import torch


class WarmupCosine:
    """Sets the rate of every parameter group at each step.

    Args:
        optimizer: its groups may carry `lr_scale`, a factor on the schedule (default 1).
        max_epoch, steps_per_epoch: their product is the length of the whole schedule.
        init_lr, min_lr, warmup_start_lr: after the warm-up, at the end, at the start.
        warmup_steps: length of the warm-up.
        unused: arguments of LAVIS's other schedules.

    Attributes:
        spent: the part of the run's time that is over, 0 to 1.
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
        """The rate of batch `step`, counted from 0 over the whole run."""
        if step < self.warmup_steps:
            share = (step + 1) / (self.warmup_steps + 1)
            rate = self.start_lr + (self.init_lr - self.start_lr) * share
            # Time that ends within the warm-up: as far up as it comes, and down with the time.
            return min(rate, self._fallen(self.spent)) if self.spent else rate
        after = max(1, self.total_steps - self.warmup_steps)
        return self._fallen(max(self.spent, min(1.0, (step - self.warmup_steps) / after)))

    def falling(self, share: float) -> float:
        """From 1 to 0 while `share` of the steps behind the warm-up goes from 0 to 1."""
        return (1 + math.cos(math.pi * share)) / 2

    def _fallen(self, share: float) -> float:
        return self.min_lr + (self.init_lr - self.min_lr) * self.falling(share)

    def step(self, cur_epoch: int, cur_step: int) -> None:
        """Set the rates for batch `cur_step` of epoch `cur_epoch` (LAVIS's signature)."""
        rate = self.at(cur_epoch * self.steps_per_epoch + cur_step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)


class WarmupLinear(WarmupCosine):
    """As `WarmupCosine`, falling along a line."""

    def falling(self, share: float) -> float:
        return 1 - share


class WarmupConstant(WarmupCosine):
    """As `WarmupCosine`, staying at `init_lr`."""

    def falling(self, share: float) -> float:
        return 1.0
