"""Speed of a run, and its estimated time left."""

from __future__ import annotations

import statistics
from collections import deque

from pal_plugin.training.run_time import RunTime

#: Steps over which the recent loss and the step time are averaged.
RECENT = 50


class Pace:
    """Time of the last steps, and of the last pause after an epoch (saving, evaluation).

    Args:
        run_time: the run's clock and limit.
        epochs: of the run; each is followed by a pause.
    """

    def __init__(self, run_time: RunTime, epochs: int) -> None:
        self._run_time, self._epochs = run_time, epochs
        self._took: deque[float] = deque(maxlen=RECENT)
        self._pause, self._stopped = 0.0, None
        self._last = run_time.now()
        self._warm = False

    def start(self) -> None:
        """Call before an epoch's first step."""
        self._last = self._run_time.now()
        if self._stopped is not None:
            self._pause = self._last - self._stopped

    def step(self) -> bool:
        """Call after each step. Returns whether it was the first of this process, which is slower
        (workers start, layers are compiled) and not counted."""
        now, first = self._run_time.now(), not self._warm
        if not first:
            self._took.append(now - self._last)
        self._last, self._warm = now, True
        return first

    def stop(self) -> None:
        """Call after an epoch's last step; a pause begins."""
        self._stopped = self._run_time.now()

    def left(self, epoch: int, step: int, steps: int) -> float | None:
        """Estimated seconds until the run ends, without its test splits.

        Args:
            epoch: current epoch, from 0.
            step: steps done in it.
            steps: per epoch.

        Returns:
            None before the second step.
        """
        if not self._took:
            return None
        more = self._epochs - epoch - 1
        left = (steps - step + more * steps) * statistics.fmean(self._took) + more * self._pause
        if self._run_time.limit_s is not None:
            left = min(left, self._run_time.limit_s - self._run_time.now())
        return max(0.0, left) + self._pause
