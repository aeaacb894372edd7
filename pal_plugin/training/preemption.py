"""Being told to stop: SIGTERM and SIGUSR1 end a run in order, with what it has done saved.

Clusters send one of them some time before they kill; torchrun hands SIGTERM on to all processes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = ("SIGTERM", "SIGUSR1")


class StopRequest:
    """Whether somebody asked this process to stop."""

    def __init__(self) -> None:
        self.signal: str | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: object) -> None:
        self.signal = signal.Signals(number).name
        if hasattr(signal, "SIGCHLD"):
            # A data worker may die of the same signal; torch would raise in the middle of a step.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    @contextlib.contextmanager
    def listening(self) -> Iterator[StopRequest]:
        """Note the signals inside the block instead of dying of them; the main thread only."""
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
