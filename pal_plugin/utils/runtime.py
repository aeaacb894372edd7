"""The process: memory, cores, progress bars, start-up time."""

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

#: Seconds between two log lines of progress.
_LINE_S = 30.0
# Numbers of glibc's malloc.h
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of returning it to the kernel.

    A training step frees and allocates the same large tensors; by default each of them is mapped
    again and every page of it faulted in. Measured on 2 cores: alone, a step of the pocket LLM
    takes the same time either way; next to six busy processes (such as DataLoader workers) it takes
    a third.

    Returns:
        Whether it was set.
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
    """Cores that this process may use; in a container or under Slurm fewer than the host has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def progress_bar(
    total: int | None, label: str, unit: str, *, shown: bool = True, lines: bool = False
) -> tqdm:
    """A progress bar on a terminal, or log lines without one.

    Args:
        total: number of units, None if unknown.
        label: in front of the bar.
        unit: singular noun.
        shown: whether to show anything.
        lines: without a terminal, log at the start, every 30 s, and at the end.
    """
    live = sys.stderr.isatty()
    kind = _Lines if lines and not live else tqdm
    hidden = not (shown and (lines or live))
    return kind(total=total, desc=label, unit=unit, disable=hidden, leave=False)


class _Lines(tqdm):
    """A progress bar as log lines."""

    def __init__(self, **arguments: Any) -> None:
        form = "{desc}: {n_fmt} of {total_fmt} {unit}s in {elapsed}, ETA {remaining}"
        settings = {"bar_format": form, "mininterval": _LINE_S, "miniters": 1, "leave": True}
        super().__init__(**{**arguments, **settings}, file=io.StringIO())

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        logging.info("%s", str(self))  # as it is now
        return True


def duration(seconds: float | None) -> str:
    """Seconds as "4:05" (minutes and seconds) or "1:04:05" (with hours); None is "?"."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Clock:
    """Measures the start-up time, in total and by part."""

    def __init__(self) -> None:
        self._begun, self._parts = time.perf_counter(), {}

    @contextmanager
    def counted(self, part: str) -> Iterator[None]:
        """Log `part` and measure the block."""
        logging.info("starting: %s", part)
        begun = time.perf_counter()
        yield
        self._parts[part] = time.perf_counter() - begun

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in self._parts.items())
        return f"{time.perf_counter() - self._begun:.1f} s ({parts})"
