"""What can go wrong within a step, and whose clips were in it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from pal_plugin.batch import Batch, clips_in, ids_of, rows_in
from pal_plugin.utils.errors import UserError
from pal_plugin.utils.spelling import first_of


class NonFiniteLossError(UserError, RuntimeError):
    """The loss or its gradient became NaN or infinite."""


class OutOfMemoryBatchError(UserError, RuntimeError):
    """A batch did not fit into memory; names its samples."""


def non_finite(what: str, where: str, names: list[str], file: str) -> NonFiniteLossError:
    """The error for `what` ("the loss is nan") in a step."""
    return NonFiniteLossError(
        f"{what} in {where}; its samples are {first_of(names, most=20)} (all of them in {file}). "
        "No checkpoint was made of it. Lower run.init_lr, set run.grad_clip, or use run.amp=none; "
        "if one clip is always among them, look at it; run.on_nonfinite=skip leaves such steps out"
    )


@contextlib.contextmanager
def memory_errors_named(samples: Batch, where: str) -> Iterator[None]:
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


def _size(samples: Batch) -> str:
    audio = samples.get("audio")
    windows = ""
    if isinstance(audio, dict):
        counts = {n: int(e["windows"].sum()) for n, e in audio.items() if "windows" in e}
        windows = f" with windows {counts}"
    return f"a batch of {clips_in(samples)} clips{windows} and {rows_in(samples)} questions"
