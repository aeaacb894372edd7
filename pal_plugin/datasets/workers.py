"""DataLoader workers: signal handling, and error reporting when one dies.

Training and evaluation both take their batches through `fetched` or `fetch`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from pal_plugin.utils.errors import UserError

#: Fragments of torch's messages about a dead worker or pinning thread.
_READERS = ("DataLoader worker", "Pin memory thread")
_Batch = TypeVar("_Batch")


class DataWorkerError(UserError, RuntimeError):
    """A DataLoader worker died."""


def start(_: int) -> None:
    """`worker_init_fn` of a DataLoader.

    torchrun and Slurm send SIGTERM to all processes, and a worker that dies of it would kill the
    trainer before it has saved; so workers only obey a SIGTERM from the trainer. A trainer killed
    by SIGKILL cannot stop its workers, so Linux is asked to kill them with it.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread per worker, no fork warnings
    if not sys.platform.startswith("linux"):
        return
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_exit_on_sigterm_from, args=(os.getppid(),), daemon=True).start()


def end_with_parent(number: int) -> None:
    """Makes Linux send this process a signal when its parent dies."""
    set_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_death_signal, number)


def fetched(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """Yields from `batches`, with errors of dead workers translated.

    Raises:
        DataWorkerError: if a DataLoader worker died.
    """
    iterator = iter(batches)
    end = object()
    # Only while fetching does a broken connection mean a dead worker.
    while (batch := fetch(iterator, end)) is not end:
        yield batch


def fetch(batches: Iterator[_Batch], *default: Any) -> _Batch:
    """`next(batches)`, which raises as `fetched` does."""
    with dead_workers_named(ConnectionError, EOFError):
        return next(batches, *default)


@contextlib.contextmanager
def dead_workers_named(*also: type[Exception]) -> Iterator[None]:
    """Translates the loader's error about a dead worker into one with a remedy.

    Args:
        also: further exceptions with this meaning (while fetching, a broken connection).
    """
    try:
        yield
    except (RuntimeError, *also) as error:
        text = str(error) or type(error).__name__
        forwarded = text.startswith("Caught ")  # an exception inside a live worker
        died = isinstance(error, also) or any(name in text for name in _READERS)
        if isinstance(error, DataWorkerError) or forwarded or not died:
            raise
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            # torch's handler would raise again on this signal, anywhere during shutdown.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise DataWorkerError(
            f"a DataLoader worker died ({text.splitlines()[0]}), most often out of memory: lower "
            "run.num_workers or run.length_pool, or increase shared memory (docker run "
            "--shm-size=8g). Saved state is intact: training resumes with --resume auto, "
            "evaluation with the same --job-id"
        ) from error


def _exit_on_sigterm_from(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
