"""One process at a time writes into a run folder."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from pal_plugin.utils.errors import ConfigError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_NAME = ".lock"
#: A trainer that was just killed may hold its lock for as long as its data workers die.
_PATIENCE_S = 3.0


class RunLock:
    """Holds a run folder until `release`, or the end of the process.

    Raises:
        ConfigError: somebody else holds it; says who.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / _NAME
        self._file = self.path.open("a+")
        if fcntl is None:
            return
        deadline = time.monotonic() + _PATIENCE_S
        while not _take(self._file):
            if time.monotonic() > deadline:
                self._file.seek(0)
                holder = self._file.read().strip() or "another process"
                self._file.close()
                raise ConfigError(
                    f"{folder} is in use by {holder}: wait for it, or stop it, or choose another "
                    "--job-id"
                )
            time.sleep(0.1)
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


def in_use(folder: Path) -> bool:
    """Whether a process holds the folder now."""
    if fcntl is None or not (folder / _NAME).is_file():
        return False
    with (folder / _NAME).open("a+") as file:
        return not _take(file)


def _take(file) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
