"""A lock on a run folder: one process at a time writes into it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from pal_plugin.utils.errors import ConfigError

_NAME, _HOLDER = ".lock", ".lock.holder"
#: A killed trainer holds its lock until its DataLoader workers have exited.
_PATIENCE_S = 3.0


class RunLock:
    """Holds a run folder until `release` or the end of the process.

    Raises:
        ConfigError: another process holds it; names the process.
    """

    def __init__(self, folder: Path) -> None:
        self._lock, self._holder = FileLock(folder / _NAME), folder / _HOLDER
        try:
            self._lock.acquire(timeout=_PATIENCE_S, poll_interval=0.1)
        except Timeout:
            known = self._holder.is_file()
            who = self._holder.read_text("utf-8") if known else "another process"
            raise ConfigError(
                f"{folder} is in use by {who}: wait for it, stop it, or choose another --job-id"
            ) from None
        self._holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")

    def release(self) -> None:
        """Release the folder."""
        self._holder.unlink(missing_ok=True)
        self._lock.release()


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder."""
    if not (folder / _NAME).is_file():
        return False
    try:
        with FileLock(folder / _NAME).acquire(timeout=0):
            return False
    except Timeout:
        return True
