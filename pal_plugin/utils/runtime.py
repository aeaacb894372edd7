"""The process: its memory, its cores, its progress bars."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

#: Seconds between two lines of progress.
_LINE_S = 30.0
# Numbers of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of giving it back to the kernel.

    A training step frees and allocates the same large tensors; by default each of them is mapped
    anew and every page of it faulted in. Measured on 2 cores: alone, a step of the pocket LLM takes
    the same time either way; beside six busy processes (a loader's workers, say) it takes a third.

    Returns:
        Whether it was done.
    """
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 64 * 2**20))
    done = [libc.mallopt(name, value) for name, value in settings]
    return all(done)


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has in a container or under Slurm."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress_bar(
    total: int | None, label: str, unit: str, *, shown: bool = True, lines: bool = False
) -> tqdm:
    """A live bar on a terminal.

    Args:
        total: of what it counts, None where that is not known.
        shown: whether it is shown at all.
        lines: without a terminal write to the log: at the beginning, now and then, at the end.
    """
    live = sys.stderr.isatty()
    kind = _Lines if lines and not live else tqdm
    hidden = not (shown and (lines or live))
    return kind(total=total, desc=label, unit=unit, disable=hidden, leave=False)


class _Lines(tqdm):
    """A progress bar as lines of the log."""

    def __init__(self, **arguments: Any) -> None:
        told = "{desc}: {n_fmt} of {total_fmt} {unit}s in {elapsed}, ETA {remaining}"
        settings = {"bar_format": told, "mininterval": _LINE_S, "miniters": 1, "leave": True}
        super().__init__(**{**arguments, **settings}, file=io.StringIO())

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        logging.info("%s", str(self))  # as it is now
        return True


def duration(seconds: float | None) -> str:
    """As people read it: 4:05 are minutes and seconds, 1:04:05 begins with hours; None is "?"."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Clock:
    """Counts how long a start takes, and what of it takes how long."""

    def __init__(self) -> None:
        self._begun, self._parts = time.perf_counter(), {}

    @contextmanager
    def counted(self, part: str) -> Iterator[None]:
        """Count the block as a part of the start, and say that it begins."""
        logging.info("starting: %s", part)
        begun = time.perf_counter()
        yield
        self._parts[part] = time.perf_counter() - begun

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._parts.items())
        return f"{time.perf_counter() - self._begun:.1f} s ({parts})"
