"""Preemption: SIGTERM and SIGUSR1 save the run's state and end it cleanly.

Clusters send one of them some time before they kill; torchrun forwards SIGTERM to all processes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = ("SIGTERM", "SIGUSR1")


class StopRequest:
    """Whether this process has received a stop signal; true after the first one."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: object) -> None:
        self.signal = signal.Signals(number).name
        if hasattr(signal, "SIGCHLD"):
            # A DataLoader worker may die of the same signal; torch would raise within a step.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Record the signals inside the block instead of dying of them; main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {}
        for name in SIGNALS:
            if hasattr(signal, name):
                before[name] = signal.signal(getattr(signal, name), self._note)
        try:
            yield self
        finally:
            for name, handler in before.items():
                signal.signal(getattr(signal, name), handler)
