"""The training loop: optimizer steps over micro-batches, equal for any number of processes.

A step is `accumulate` micro-batches of each process. Its loss is the mean over the answer tokens of
all of them, so that their distribution over processes does not matter; each micro-batch is seeded
by its number in the run. Two processes, or one that accumulates two micro-batches, therefore take
the same steps up to rounding, and a resumed run takes exactly the same ones.
"""

from __future__ import annotations

import hashlib
import logging
import math
import random
import resource
import statistics
import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from pal_plugin.batch import Batch, clips_in, ids_of, rows_in, to_device
from pal_plugin.datasets import workers
from pal_plugin.training import faults, parallel
from pal_plugin.training.distributed import ALONE, World
from pal_plugin.training.pace import RECENT, Pace
from pal_plugin.training.progress import EpochStats, Progress
from pal_plugin.training.run_time import RunTime
from pal_plugin.training.streams import MicroBatch
from pal_plugin.utils.errors import ConfigError, Preempted
from pal_plugin.utils.precision import Precision
from pal_plugin.utils.runtime import duration, progress_bar
from pal_plugin.utils.spelling import first_of

#: Consecutive steps without usable clips, or skipped, after which training fails.
PATIENCE = 50
_FACTS = 7  # numbers that a process reports about a micro-batch


@dataclass
class Trainer:
    """Takes optimizer steps.

    Attributes:
        task: has `train_step(model, samples)`, which returns a scalar loss or `(loss, ...)`.
        model: from `parallel.parallelise`.
        plain: the unwrapped model; its `answer_tokens(samples)` is the number of tokens that a
            loss is the mean of (default: rows), `text_tokens(samples)` that of prompts and answers
            (default: 0, unknown), `audio_seconds(samples)` the seconds of audio.
        batches: infinite iterator over this process's `MicroBatch`es.
        schedule: sets the learning rates at each step.
        precision: autocast and gradient scaler.
        accumulate: micro-batches of each process per step (gradient accumulation).
        grad_clip: maximum norm of the gradient; None: no clipping.
        on_nonfinite, on_out_of_memory: "stop" or "skip".
        log_freq: steps between two calls of `report`.
        save_every: steps between two calls of `save`; None: none within an epoch.
        stop: checked before every step; if true on any rank, the run is preempted.
        report: called with a dict every `log_freq` steps and after an epoch's last.
        report_fault: called with a dict for each step that is skipped or stops the run; returns
            the name of the file it was written to.
        save: called on preemption, and every `save_every` steps.
        progress: epoch, step and data positions.
        run_time: no step begins after its limit.
        epochs: of the whole run, for the ETA.

    Raises:
        ConfigError: settings that contradict each other.
    """

    task: Any
    model: nn.Module
    plain: nn.Module
    batches: Iterator[MicroBatch]
    optimizer: torch.optim.Optimizer
    schedule: Any
    precision: Precision
    device: torch.device
    world: World = ALONE
    accumulate: int = 1
    grad_clip: float | None = None
    seed: int = 0
    on_nonfinite: str = "stop"
    on_out_of_memory: str = "stop"
    log_freq: int = 20
    save_every: int | None = None
    stop: Callable[[], bool] = bool
    report: Callable[[dict], None] = lambda line: None
    report_fault: Callable[[dict], str] = lambda fault: "the log"
    save: Callable[[], Any] = lambda: None
    progress: Progress = field(default_factory=Progress)
    run_time: RunTime = field(default_factory=RunTime)
    epochs: int = 1

    def __post_init__(self) -> None:
        if self.on_out_of_memory == "skip" and self.world.size > 1:
            raise ConfigError(
                "run.on_out_of_memory=skip needs a single process: the others would wait for this "
                "one's gradients; use run.on_out_of_memory=stop"
            )
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        halves = sum(p.dtype == torch.float16 for p in self._parameters)
        if halves and self.precision.scaler.is_enabled():
            raise ConfigError(
                f"run.amp=fp16 needs trainable weights in float32, but {halves} of them are "
                "float16, as the LLM is: set model.llm.dtype to float32, or both to bfloat16 "
                "(run.amp=bf16)"
            )
        self._turns = range(self.accumulate)
        self._ahead: deque[MicroBatch] = deque()
        self._filler: dict | None = None
        self._idle = self._bad = 0
        self._pace = Pace(self.run_time, self.epochs)

    def epoch(self, steps: int) -> EpochStats:
        """Train the current epoch until it has `steps` steps, or the time limit is reached.

        Raises:
            NonFiniteLossError, OutOfMemoryBatchError: names the samples.
            DataWorkerError: a DataLoader worker died.
            Preempted: a stop signal arrived; the state is saved.
        """
        now = self.progress
        started = self.run_time.now() - now.stats.seconds
        self._pace.start()
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        first = self.world.first
        with progress_bar(steps, f"epoch {now.epoch} train", "step", shown=first) as bar:
            bar.update(now.step)
            line, reported = None, True
            while now.step < steps and not self.run_time.is_over:
                done, learned = self._step()
                now.stats.seconds = self.run_time.now() - started
                if not done:
                    continue
                begins = self._pace.step()
                line = self._line(*(learned or (None, None)), steps)
                bar.set_postfix_str(_short(line), refresh=False)
                bar.update()
                reported = now.step % self.log_freq == 0 or now.step == steps
                if first and bar.disable and (reported or begins):
                    _log(line, steps)
                if reported:
                    self.report(line)
                if self.save_every and now.global_step % self.save_every == 0 and now.step < steps:
                    self.save()
        if not reported:  # the last step before the time limit
            self.report(line)
        self._pace.stop()
        if self.run_time.is_over and first:
            message = "run.max_minutes reached (%s): training ends in epoch %d after step %d of %d"
            logging.info(message, duration(self.run_time.seconds), now.epoch, now.step, steps)
        self._log_skipped()
        return now.stats

    # ---- one step ---------------------------------------------------------------------------

    def _step(self) -> tuple[bool, tuple[float, float] | None]:
        """Whether a step was taken, and its `(loss, gradient norm)` unless it was skipped."""
        asked = self.run_time.now()
        micros = self._fetched()
        seconds = self.run_time.now()
        waited = seconds - asked
        if micros and micros[0].number != self.progress.micros + self.world.rank:
            raise RuntimeError(
                f"the loader gave micro-batch {micros[0].number}, expected "
                f"{self.progress.micros + self.world.rank}"
            )
        skipped = [name for m in micros for name in m.batch.pop("skipped", ())]
        facts = [self._facts(micro.batch) for micro in micros]
        stop = float(bool(self.stop()))
        none = [0.0] * _FACTS * (self.accumulate - len(micros))
        mine = [stop, seconds, *(number for fact in facts for number in fact), *none]
        gathered = self.world.gather_numbers(mine)
        if any(numbers[0] for numbers in gathered):
            self.save()
            raise Preempted
        self.run_time.seconds = gathered[0][1]
        if self.run_time.is_over:
            return False, None
        counts = [
            numbers[2 + j * _FACTS : 2 + (j + 1) * _FACTS]
            for j in range(self.accumulate)
            for numbers in gathered
        ]
        tokens = sum(count[0] for count in counts)
        self.progress.stats.waited += waited
        self.progress.stats.skipped += skipped
        try:
            result = self._learn(micros, [fact[0] for fact in facts], tokens)
        except faults.OutOfMemoryBatchError as error:
            if self.on_out_of_memory == "stop":
                raise
            self.optimizer.zero_grad(set_to_none=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            result = self._skip(str(error), micros, "skip")
        self._count(micros, counts, tokens, result)
        return bool(tokens), result

    def _fetched(self) -> list[MicroBatch]:
        """The micro-batches of a step; none where a DataLoader worker died of the stop signal,
        since the state can still be saved."""
        try:
            return [
                self._ahead.popleft() if self._ahead else workers.fetch(self.batches)
                for _ in self._turns
            ]
        except workers.DataWorkerError:
            if not self.stop():
                raise
            return []

    def _learn(
        self, micros: list[MicroBatch], own: list[float], tokens: float
    ) -> tuple[float, float] | None:
        """Forward, backward and optimizer step: `(loss, gradient norm)`, or None if skipped."""
        if not tokens:
            self._idle += 1
            if self._idle == PATIENCE:
                raise ConfigError(
                    f"{PATIENCE} consecutive steps had no usable clip; first errors: "
                    + "; ".join(self.progress.stats.skipped[:3])
                )
            return None
        self._idle = 0
        if self.run_time.limit_s is not None:
            self.schedule.spent = self.run_time.share
        self.schedule.step(cur_epoch=self.progress.epoch, cur_step=self.progress.step)
        summed, finite = 0.0, True
        for number, (micro, share) in enumerate(zip(micros, own, strict=True)):
            if not share and self.world.size == 1:
                continue
            samples = to_device(micro.batch if share else self._stand_in(micros), self.device)
            seed_micro_batch(self.seed, micro.number)
            last = number + 1 == len(micros)
            with (
                faults.memory_errors_named(samples, self._where()),
                parallel.exchange_at(last, self.model),
            ):
                with self.precision.autocast():
                    output = self.task.train_step(model=self.model, samples=samples)
                loss = output[0] if isinstance(output, tuple) else output
                value = float(loss.detach())
                if share:
                    if math.isfinite(value):
                        self._filler = micro.batch
                    finite = finite and math.isfinite(value)
                    summed += value * share
                # Gradients are averaged over the ranks, but the loss is a sum over them.
                weight = share * self.world.size / tokens
                self.precision.scaler.scale(loss * weight).backward()
        parallel.average_whole_gradients(self.model, self.world)
        self.precision.scaler.unscale_(self.optimizer)
        norm = parallel.clip_gradients(self._parameters, self.grad_clip)
        gathered = self.world.gather_numbers([summed, float(finite)])
        loss = sum(numbers[0] for numbers in gathered) / tokens
        if not all(numbers[1] for numbers in gathered):
            self.precision.scaler.update()  # it has unscaled this step's gradients
            return self._skip(f"the loss is {loss}", micros, self.on_nonfinite)
        # fp16: the scaler skips some steps itself, until it has found its scale.
        scaled = self.precision.scaler.is_enabled()
        if not math.isfinite(norm) and (not scaled or self._bad + 1 >= PATIENCE):
            what = f"the norm of the gradient is {norm}"
            return self._skip(what, micros, self.on_nonfinite)
        self._bad = 0 if math.isfinite(norm) else self._bad + 1
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def _skip(self, what: str, micros: list[MicroBatch], policy: str) -> None:
        """Report the samples of a bad step, then skip it or raise."""
        self.optimizer.zero_grad(set_to_none=True)
        names = [name for names in self.world.gather(ids_of_all(micros)) for name in names]
        file = self.report_fault({"where": self._where(), "what": what, "samples": names})
        self._bad += 1
        if policy == "stop" or self._bad == PATIENCE:
            raise faults.non_finite(what, self._where(), names, file)
        logging.warning("%s: %s; skipping the step (samples in %s)", self._where(), what, file)

    def _stand_in(self, micros: list[MicroBatch]) -> Batch:
        """A batch to replace one without clips, with weight 0: every rank must take part."""
        for batch in (self._filler, *(micro.batch for micro in (*micros, *self._ahead))):
            if batch is not None and rows_in(batch):
                return batch
        for _ in range(PATIENCE):  # none so far: prefetch
            self._ahead.append(workers.fetch(self.batches))
            if rows_in(self._ahead[-1].batch):
                return self._ahead[-1].batch
        raise ConfigError(
            f"{self.world}: the first {PATIENCE} batches have no usable clip; first errors: "
            + "; ".join(self.progress.stats.skipped[:3])
        )

    def _facts(self, samples: Batch) -> list[float]:
        rows = rows_in(samples)
        if not rows:
            return [0.0] * _FACTS
        tokens = getattr(self.plain, "answer_tokens", rows_in)(samples)
        text = getattr(self.plain, "text_tokens", lambda _: 0)(samples)
        seconds = getattr(self.plain, "audio_seconds", lambda _: 0.0)(samples)
        names = zlib.crc32("\n".join(ids_of(samples)).encode())
        return [float(x) for x in (tokens, text, clips_in(samples), rows, seconds, names, 1)]

    # ---- accounting -------------------------------------------------------------------------

    def _count(
        self, micros: list[MicroBatch], counts: list, tokens: float, result: tuple | None
    ) -> None:
        now, stats = self.progress, self.progress.stats
        now.micros += self.accumulate * self.world.size
        for micro in micros:
            now.positions[micro.position["stream"]] = micro.position
        for _, text, clips, rows, seconds, names, _ in counts:
            stats.text_tokens += int(text)
            stats.clips += int(clips)
            now.clips += int(clips)
            stats.rows += int(rows)
            stats.audio_s += seconds
            now.order = hashlib.sha256(f"{now.order} {int(names)}".encode()).hexdigest()[:16]
        stats.tokens += int(tokens)
        if not tokens:
            return
        now.step += 1
        now.global_step += 1
        if result is None:
            stats.left_out += 1
            return
        stats.steps += 1
        stats.loss_sum += result[0]
        now.recent = [*now.recent, result[0]][-RECENT:]

    def _line(self, loss: float | None, norm: float | None, steps: int) -> dict[str, Any]:
        now, stats = self.progress, self.progress.stats
        seconds = max(stats.seconds, 1e-9)
        left = self._pace.left(now.epoch, now.step, steps)
        return {
            "epoch": now.epoch,
            "step": now.step - 1,
            "global_step": now.global_step,
            "loss": stats.loss_sum / max(1, stats.steps),
            "batch_loss": loss,
            "recent_loss": statistics.fmean(now.recent) if now.recent else None,
            "lr": self.optimizer.param_groups[0]["lr"],
            "lr_by_group": _rates(self.optimizer),
            "grad_norm": norm,
            "clips": now.clips,
            "order": now.order,
            "clips_per_s": round(stats.clips / seconds, 2),
            "audio_s_per_s": round(stats.audio_s / seconds, 2),
            "tokens_per_s": round(stats.tokens / seconds, 1),
            "data_wait": round(stats.waited / seconds, 3),
            "memory_gib": round(peak_memory_bytes(self.device) / 2**30, 3),
            "seconds": round(seconds, 2),
            "run_seconds": round(self.run_time.now(), 2),
            "seconds_left": left if left is None else round(left, 1),
        }

    def _where(self) -> str:
        where = f"epoch {self.progress.epoch}, step {self.progress.step}"
        return where if self.world.size == 1 else f"{where}, {self.world}"

    def _log_skipped(self) -> None:
        stats = self.progress.stats
        gathered = self.world.gather(stats.skipped)
        stats.skipped = [n for names in gathered for n in names] if self.world.first else []
        if stats.skipped:
            logging.warning(
                "skipped %d unusable clips: %s",
                len(stats.skipped),
                first_of(stats.skipped, "; "),
            )


def seed_micro_batch(seed: int, number: int) -> None:
    """Seed Python, NumPy and torch from `seed` and the micro-batch's number in the run, so that
    its random numbers do not depend on what ran before."""
    value = zlib.crc32(f"{seed}-{number}".encode())
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def ids_of_all(micros: list[MicroBatch]) -> list[str]:
    """Ids of all samples of several micro-batches."""
    return [name for micro in micros if rows_in(micro.batch) for name in ids_of(micro.batch)]


def peak_memory_bytes(device: torch.device) -> int:
    """Peak memory in bytes: of tensors on a GPU, of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {g.get("name", str(i)): g["lr"] for i, g in enumerate(optimizer.param_groups)}


def _short(line: dict) -> str:
    """The text of the progress bar."""
    return (
        f"loss {_number(line['recent_loss'])} lr {line['lr']:.1e} "
        f"{line['clips_per_s']:.0f} clips/s, ETA of the run {duration(line['seconds_left'])}"
    )


def _log(line: dict, steps: int) -> None:
    logging.info(
        "epoch %d step %d/%d  loss %s (epoch %s)  lr %.2e  %.1f clips/s  ETA %s",
        line["epoch"],
        line["step"] + 1,
        steps,
        _number(line["recent_loss"]),
        _number(line["loss"]),
        line["lr"],
        line["clips_per_s"],
        duration(line["seconds_left"]),
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
