"""Settings of the process that training on a CPU depends on."""

from __future__ import annotations

import ctypes
import sys

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
