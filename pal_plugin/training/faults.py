"""What can go wrong within a step, and whose clips were in it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch

from pal_plugin.utils.errors import UserError

POLICIES = ("stop", "skip")
#: What torch's errors about the death of those that read data begin with or name.
_READERS = ("DataLoader worker", "Pin memory thread")
_Batch = TypeVar("_Batch")


class NonFiniteLossError(UserError, RuntimeError):
    """The loss or its gradient became NaN or infinite."""


class OutOfMemoryBatchError(UserError, RuntimeError):
    """A batch did not fit into memory; names its samples."""


class DataWorkerError(UserError, RuntimeError):
    """A process that reads data died."""


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
            f"a process that reads data died ({text.splitlines()[0]}). Most often memory ran "
            "out: lower run.num_workers or run.length_pool, or give more shared memory (docker run "
            "--shm-size=8g). What is saved is whole: train.py goes on with --resume auto, "
            "evaluate.py with the same --job-id"
        ) from error


def ids_of(samples: dict) -> list[str]:
    """Names of the questions or clips of a batch."""
    names = samples.get("question_id") or samples.get("sample_id") or ["(samples without ids)"]
    return [str(name) for name in names]


def non_finite(what: str, where: str, names: list[str], file: str) -> NonFiniteLossError:
    """The error for `what` ("the loss is nan") in a step."""
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return NonFiniteLossError(
        f"{what} in {where}; its samples are {shown} (all of them in {file}). No checkpoint was "
        "made of it. Lower run.init_lr, set run.grad_clip, or use run.amp=none; if one clip is "
        "always among them, look at it; run.on_nonfinite=skip leaves such steps out"
    )


@contextlib.contextmanager
def memory_errors_named(samples: dict, where: str) -> Iterator[None]:
    """Turn an allocation that failed into an error that says what was in the batch."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemoryBatchError(
            f"out of memory in {where}: {_size(samples)}. The samples are "
            f"{', '.join(ids_of(samples)[:20])}. Lower run.batch_size_train (and raise "
            "run.accum_grad_iters by as much), or set run.activation_checkpointing=true, "
            "run.amp=bf16, the encoders' features.max_s, or run.on_out_of_memory=skip. "
            f"({str(error).splitlines()[0]})"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "DefaultCPUAllocator" in text or "not enough memory" in text


def _size(samples: dict) -> str:
    audio: Any = samples.get("audio")
    windows = ""
    if isinstance(audio, dict):
        counts = {n: int(e["windows"].sum()) for n, e in audio.items() if "windows" in e}
        windows = f" with windows {counts}"
    rows = len(samples.get("text_input", ()))
    return f"a batch of {samples.get('num_clips', rows)} clips{windows} and {rows} questions"
