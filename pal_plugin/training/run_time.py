"""Training time of a run, and its limit (`run.max_minutes`)."""

from __future__ import annotations

import time
from collections.abc import Callable


class RunTime:
    """Training time in seconds, without start-up and interruptions.

    All ranks must end at the same step with the same learning rate, so `seconds`, the last reading
    broadcast by rank 0, decides instead of each rank's own clock.

    Args:
        limit_s: seconds after which no step begins; None: no limit.
        before: seconds that a resumed run has trained already.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        limit_s: float | None = None,
        before: float = 0.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.limit_s, self.seconds = limit_s, before
        self._clock = clock or time.perf_counter
        self._begun = self._clock() - before

    def now(self) -> float:
        """Seconds by this process's clock."""
        return self._clock() - self._begun

    @property
    def is_over(self) -> bool:
        """Whether the time limit is reached."""
        return self.limit_s is not None and self.seconds >= self.limit_s

    @property
    def share(self) -> float:
        """Fraction of the time limit that has passed, 0 to 1; 0 without a limit."""
        return 0.0 if self.limit_s is None else min(1.0, self.seconds / self.limit_s)
