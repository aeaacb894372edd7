"""How long a run trains, and when its time is up (`run.max_minutes`)."""

from __future__ import annotations

import time
from collections.abc import Callable


class RunTime:
    """The time of a run, from where its training begins, without its interruptions.

    Processes have clocks of their own, and all must end with the same step and rate: what counts is
    `seconds`, the first process's reading that all were told last.

    Args:
        limit_s: seconds after which no step begins; None: no limit.
        before: seconds that a resumed run has trained already.
        clock: seconds from any moment on.
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
        """Whether the limit is reached."""
        return self.limit_s is not None and self.seconds >= self.limit_s

    @property
    def share(self) -> float:
        """The part of the time that is over, 0 to 1; 0 without a limit."""
        return 0.0 if self.limit_s is None else min(1.0, self.seconds / self.limit_s)
