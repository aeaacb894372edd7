"""The loop of evaluation, for any task with `valid_step`, and what it shares with training."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from tqdm import tqdm

from pal_plugin.training import faults
from pal_plugin.utils.errors import ConfigError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """`run.amp`: autocast on the right device type, with a gradient scaler for fp16 on cuda.

    Raises:
        ConfigError: an unknown name, or fp16 where there is no cuda.
    """

    def __init__(self, amp: str | bool | None, device: torch.device) -> None:
        name = {None: "none", False: "none", "fp32": "none", True: "bf16"}.get(amp, amp)
        if name != "none" and name not in _DTYPES:
            raise ConfigError(f"run.amp is {amp!r}; expected none (fp32), bf16 or fp16")
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(f"run.amp=fp16 needs cuda, this run is on {device}; use bf16 or none")
        self.device_type, self.dtype = device.type, _DTYPES.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)


def to_device(value: Any, device: torch.device) -> Any:
    """Move every tensor in nested dicts, lists and tuples; the rest stays as it is."""
    if torch.is_tensor(value):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(v, device) for v in value)
    return value


@torch.no_grad()
def evaluate(
    *,
    task: Any,
    model: torch.nn.Module,
    batches: Iterable[dict],
    clips: int | None,
    split: str,
    precision: Precision,
    device: torch.device,
    answered: Any = None,
    check: Callable[[], None] = lambda: None,
    shown: bool = True,
) -> tuple[list, list[str]]:
    """All rows that `task.valid_step` returns for `batches`; the progress bar counts clips.

    Args:
        answered: an `answered.Answered` that knows rows already and keeps the others.
        check: called between batches; it raises to end the evaluation.
        shown: whether this process shows the bar.

    Returns:
        the rows, and names and reasons of clips that the dataset left out.
    """
    model.eval()
    results: list = []
    left_out: list[str] = []
    with progress_bar(clips, f"evaluating {split}", "clip", shown=shown) as bar:
        for batch in faults.fetched(batches):
            check()
            samples = to_device(batch, device)
            left_out.extend(samples.pop("skipped", ()))
            with precision.autocast():
                if answered is None:
                    results.extend(task.valid_step(model=model, samples=samples))
                else:
                    results.extend(answered.answer(task, model, samples))
            bar.update(clips_in(samples))
    if left_out:
        logging.warning(
            "%d clips of %s were left out, evaluation.json names them: %s",
            len(left_out),
            split,
            "; ".join(left_out[:10]) + ("; ..." if len(left_out) > 10 else ""),
        )
    return results, left_out


def rows_in(samples: dict) -> int:
    """Text rows of a batch, or its clips where there is no text."""
    return len(samples.get("text_input", samples.get("sample_id", ())))


def clips_in(samples: dict) -> int:
    """Clips of a batch."""
    return int(samples.get("num_clips", rows_in(samples)))


def progress_bar(total: int | None, label: str, unit: str, *, shown: bool = True) -> tqdm:
    """A live bar on a terminal; a log file gets lines instead."""
    hidden = not (shown and sys.stderr.isatty())
    return tqdm(total=total, desc=label, unit=unit, disable=hidden, leave=False)
