"""Processes that read data: what they do about signals, and what is said when one dies.

Training and evaluation share this: both take their batches through `fetched` or `fetch`.
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

#: What torch's errors about the death of those that read data begin with or name.
_READERS = ("DataLoader worker", "Pin memory thread")
_Batch = TypeVar("_Batch")


class DataWorkerError(UserError, RuntimeError):
    """A process that reads data died."""


def start(_: int) -> None:
    """`worker_init_fn` of a DataLoader.

    torchrun and Slurm send SIGTERM to everybody, and a worker that dies of it would take the
    trainer along before it has saved; only the trainer's own SIGTERM counts. Killed with SIGKILL a
    trainer cannot tell its workers, so Linux is asked to end them with it.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one thread a worker, and no warning of forks
    if not sys.platform.startswith("linux"):
        return
    end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_the_trainer_says, args=(os.getppid(),), daemon=True).start()


def end_with_parent(number: int) -> None:
    """Ask Linux to send this process a signal when its parent dies."""
    set_death_signal = 1  # PR_SET_PDEATHSIG of linux/prctl.h
    ctypes.CDLL(None).prctl(set_death_signal, number)


def fetched(batches: Iterable[_Batch]) -> Iterator[_Batch]:
    """What `batches` gives, for training and evaluation alike.

    Raises:
        DataWorkerError: the process that reads them died.
    """
    iterator = iter(batches)
    end = object()
    # Only while a batch is fetched is a broken connection one to a data worker.
    while (batch := fetch(iterator, end)) is not end:
        yield batch


def fetch(batches: Iterator[_Batch], *default: Any) -> _Batch:
    """`next(batches)` with the error of `fetched`."""
    with dead_workers_named(ConnectionError, EOFError):
        return next(batches, *default)


@contextlib.contextmanager
def dead_workers_named(*also: type[Exception]) -> Iterator[None]:
    """Turn the loader's error about a worker that died into one that says what to do.

    Args:
        also: other errors that mean the same here (where a batch is fetched, a broken connection).
    """
    try:
        yield
    except (RuntimeError, *also) as error:
        text = str(error) or type(error).__name__
        caught = text.startswith("Caught ")  # a worker that tells its error is alive
        told = isinstance(error, also) or any(name in text for name in _READERS)
        if isinstance(error, DataWorkerError) or caught or not told:
            raise
        if threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGCHLD"):
            # torch raises again from this signal, wherever the process is on its way out.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise DataWorkerError(
            f"a DataLoader worker died ({text.splitlines()[0]}). Most often memory ran out: lower "
            "run.num_workers or run.length_pool, or give more shared memory (docker run "
            "--shm-size=8g). What is saved is whole: training resumes with --resume auto, "
            "evaluation with the same --job-id"
        ) from error


def _end_when_the_trainer_says(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)
