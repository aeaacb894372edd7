"""The inner loops of training and evaluation, for any task with `train_step` and `valid_step`.

Mixed precision works on every device type, an accumulated gradient is the mean over its batches,
and a loss that is not finite stops the run and names the samples.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from pal_plugin.errors import ConfigError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class NonFiniteLossError(RuntimeError):
    """The loss became NaN or infinite."""


class Precision:
    """`run.amp`: autocast on the right device type, with a gradient scaler for fp16 on cuda.

    Raises:
        ConfigError: an unknown name, or fp16 where there is no cuda.
    """

    def __init__(self, amp: str | bool | None, device: torch.device) -> None:
        name = {None: "none", False: "none", True: "bf16"}.get(amp, amp)
        if name != "none" and name not in _DTYPES:
            raise ConfigError(f"run.amp is {amp!r}; expected none, bf16 or fp16")
        if name == "fp16" and device.type != "cuda":
            raise ConfigError(f"run.amp=fp16 needs cuda, this run is on {device}; use bf16 or none")
        self.device_type, self.dtype = device.type, _DTYPES.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager:
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)


@dataclass
class TrainStats:
    """Sums over an epoch of training; `waited` is the part of `seconds` spent on data workers."""

    loss_sum: float = 0.0
    steps: int = 0
    clips: int = 0
    rows: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    skipped: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        return {
            "loss": self.loss_sum / max(1, self.steps),
            "steps": self.steps,
            "clips": self.clips,
            "rows": self.rows,
            "clips_per_s": round(self.clips / max(self.seconds, 1e-9), 2),
            "data_wait": round(self.waited / max(self.seconds, 1e-9), 3),
            "skipped_clips": len(self.skipped),
        }


def to_device(value: Any, device: torch.device) -> Any:
    """Move every tensor in nested dicts, lists and tuples; the rest stays as it is."""
    if torch.is_tensor(value):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_device(v, device) for v in value)
    return value


def train_epoch(
    *,
    task: Any,
    model: torch.nn.Module,
    batches: Iterator[dict],
    steps: int,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    schedule: Any,
    precision: Precision,
    device: torch.device,
    accumulate: int = 1,
    grad_clip: float | None = None,
    log_freq: int = 20,
    log: Any = None,
) -> TrainStats:
    """Train on the next `steps` batches.

    Args:
        batches: endless; a batch whose clips were all undecodable is counted and passed over.
        log: called with a dict every `log_freq` steps.

    Raises:
        NonFiniteLossError: names the samples of the batch.
    """
    stats, started = TrainStats(), time.perf_counter()
    trainable = [p for group in optimizer.param_groups for p in group["params"]]
    model.train()
    optimizer.zero_grad(set_to_none=True)
    with _bar(steps, f"epoch {epoch} train", "step") as bar:
        for step in range(steps):
            asked = time.perf_counter()
            samples = _next_usable(batches, stats)
            stats.waited += time.perf_counter() - asked
            samples = to_device(samples, device)
            schedule.step(cur_epoch=epoch, cur_step=step)
            with precision.autocast():
                output = task.train_step(model=model, samples=samples)
            loss = output[0] if isinstance(output, tuple) else output
            _require_finite(loss, samples, epoch, step)
            # The last group of an epoch may be smaller; it is divided by its own size.
            group_start = step - step % accumulate
            group_size = min(accumulate, steps - group_start)
            precision.scaler.scale(loss / group_size).backward()
            if step + 1 == group_start + group_size:
                _update(optimizer, precision.scaler, trainable, grad_clip)
            _count(stats, loss, samples)
            stats.seconds = time.perf_counter() - started
            line = {
                "epoch": epoch,
                "step": step,
                "loss": stats.loss_sum / stats.steps,
                "batch_loss": float(loss.detach()),
                "lr": optimizer.param_groups[0]["lr"],
                "clips_per_s": round(stats.clips / stats.seconds, 2),
                "data_wait": round(stats.waited / stats.seconds, 3),
            }
            bar.set_postfix_str(
                "loss {batch_loss:.3f} lr {lr:.1e} {clips_per_s:.0f} clips/s".format(**line),
                refresh=False,
            )
            bar.update()
            if (step + 1) % log_freq == 0 or step + 1 == steps:
                _report(bar, line, steps, stats.seconds / (step + 1))
                if log is not None:
                    log(line)
    if stats.skipped:
        logging.warning(
            "%d clips could not be used and were skipped: %s",
            len(stats.skipped),
            "; ".join(stats.skipped[:10]) + ("; ..." if len(stats.skipped) > 10 else ""),
        )
    return stats


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
) -> tuple[list, list[str]]:
    """All rows that `task.valid_step` returns for `batches`; the progress bar counts clips.

    Args:
        answered: an `answered.Answered` that knows rows already and keeps the others.

    Returns:
        the rows, and names and reasons of clips that the dataset left out.
    """
    model.eval()
    results: list = []
    left_out: list[str] = []
    with _bar(clips, f"evaluating {split}", "clip") as bar:
        for batch in batches:
            samples = to_device(batch, device)
            left_out.extend(samples.pop("skipped", ()))
            with precision.autocast():
                if answered is None:
                    results.extend(task.valid_step(model=model, samples=samples))
                else:
                    results.extend(answered.answer(task, model, samples))
            bar.update(_clips(samples))
    if left_out:
        logging.warning(
            "%d clips of %s were left out, evaluation.json names them: %s",
            len(left_out),
            split,
            "; ".join(left_out[:10]) + ("; ..." if len(left_out) > 10 else ""),
        )
    return results, left_out


def _next_usable(batches: Iterator[dict], stats: TrainStats) -> dict:
    empty = 0
    while True:
        samples = next(batches)
        stats.skipped.extend(samples.pop("skipped", ()))
        if _rows(samples):
            return samples
        empty += 1
        if empty == 50:
            raise ConfigError(
                "50 batches in a row held no usable clip; the first problems were: "
                + "; ".join(stats.skipped[:3])
            )


def _require_finite(loss: torch.Tensor, samples: dict, epoch: int, step: int) -> None:
    if torch.isfinite(loss):
        return
    names = samples.get("question_id") or samples.get("sample_id") or ["(samples without ids)"]
    raise NonFiniteLossError(
        f"the loss is {loss.item()} in epoch {epoch}, step {step}; the samples of this batch are "
        f"{', '.join(map(str, names))}. Lower run.init_lr, set run.grad_clip, or use run.amp=none; "
        "if one clip is always among them, look at it."
    )


def _update(
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: list[torch.nn.Parameter],
    grad_clip: float | None,
) -> None:
    if grad_clip is not None:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)


def _count(stats: TrainStats, loss: torch.Tensor, samples: dict) -> None:
    stats.loss_sum += float(loss.detach())
    stats.steps += 1
    stats.clips += _clips(samples)
    stats.rows += _rows(samples)


def _rows(samples: dict) -> int:
    return len(samples.get("text_input", samples.get("sample_id", ())))


def _clips(samples: dict) -> int:
    return int(samples.get("num_clips", _rows(samples)))


def _bar(total: int | None, label: str, unit: str) -> tqdm:
    # On a terminal only: a log file gets lines instead (`_report`).
    return tqdm(total=total, desc=label, unit=unit, disable=not sys.stderr.isatty(), leave=False)


def _report(bar: tqdm, line: dict, steps: int, seconds_per_step: float) -> None:
    if not bar.disable:
        return
    left = int((steps - line["step"] - 1) * seconds_per_step)
    logging.info(
        "epoch %d step %d/%d  loss %.4f  lr %.2e  %.1f clips/s  ETA %d:%02d",
        line["epoch"],
        line["step"] + 1,
        steps,
        line["loss"],
        line["lr"],
        line["clips_per_s"],
        *divmod(left, 60),
    )
