"""How fast a run goes, and how long it still takes."""

from __future__ import annotations

import statistics
from collections import deque

from pal_plugin.training.run_time import RunTime

#: Steps that a recent loss, and the time of a step, are the mean of.
RECENT = 50


class Pace:
    """Time of the last steps, and of the last pause between epochs (saving, evaluation).

    Args:
        run_time: the run's clock and limit.
        epochs: of the whole run; behind each there is a pause.
    """

    def __init__(self, run_time: RunTime, epochs: int) -> None:
        self._run_time, self._epochs = run_time, epochs
        self._took: deque[float] = deque(maxlen=RECENT)
        self._pause, self._stopped = 0.0, None
        self._last = run_time.now()
        self._warm = False

    def start(self) -> None:
        """The steps of an epoch begin."""
        self._last = self._run_time.now()
        if self._stopped is not None:
            self._pause = self._last - self._stopped

    def step(self) -> bool:
        """A step is done; whether it was the first of this process, which is slower (workers start,
        layers are compiled) and counts for nothing."""
        now, first = self._run_time.now(), not self._warm
        if not first:
            self._took.append(now - self._last)
        self._last, self._warm = now, True
        return first

    def stop(self) -> None:
        """The steps of an epoch have ended, and a pause begins."""
        self._stopped = self._run_time.now()

    def left(self, epoch: int, step: int, steps: int) -> float | None:
        """Seconds until the run ends, as it went of late; its test splits are not counted.

        Args:
            epoch, step: steps done in which epoch.
            steps: of an epoch.

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
