"""Errors within a training step, with the ids of the samples in its batch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pal_plugin.batch import Batch, clips_in, ids_of, rows_in
from pal_plugin.utils.errors import UserError
from pal_plugin.utils.spelling import first_of


class NonFiniteLossError(UserError, RuntimeError):
    """The loss or its gradient is NaN or infinite."""


class OutOfMemoryBatchError(UserError, RuntimeError):
    """A batch did not fit into memory; the message names its samples."""


def non_finite(what: str, where: str, names: list[str], file: str) -> NonFiniteLossError:
    """The error to raise for a step with a non-finite loss or gradient.

    Args:
        what: such as "the loss is nan".
        where: epoch, step and rank.
        names: ids of the step's samples.
        file: the file that lists all of them.
    """
    return NonFiniteLossError(
        f"{what} in {where}; samples: {first_of(names, most=20)} (full list in {file}). "
        "No checkpoint was written. Lower run.init_lr, set run.grad_clip, or use run.amp=none; "
        "if the same clip is always among them, inspect it; run.on_nonfinite=skip skips such steps"
    )


@contextlib.contextmanager
def memory_errors_named(samples: Batch, where: str) -> Iterator[None]:
    """Turn a failed allocation into an error that names the batch's samples.

    Raises:
        OutOfMemoryBatchError: the block ran out of memory.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise OutOfMemoryBatchError(
            f"out of memory in {where}: {_size(samples)}. Samples: "
            f"{first_of(ids_of(samples), most=20)}. Lower run.batch_size_train (and raise "
            "run.accum_grad_iters by the same factor), or set run.activation_checkpointing=true, "
            "run.amp=bf16, the encoders' features.max_s, or run.on_out_of_memory=skip. "
            f"({str(error).splitlines()[0]})"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "DefaultCPUAllocator" in text or "not enough memory" in text


def _size(samples: Batch) -> str:
    audio = samples.get("audio")
    windows = ""
    if isinstance(audio, dict):
        counts = {n: int(e["windows"].sum()) for n, e in audio.items() if "windows" in e}
        windows = f" with windows {counts}"
    return f"a batch of {clips_in(samples)} clips{windows} and {rows_in(samples)} questions"
