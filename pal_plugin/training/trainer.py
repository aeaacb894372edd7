"""Optimizer steps over micro-batches, the same on one process as on many.

A step is `accumulate` micro-batches of each process. Its loss is the mean over the answer tokens of
all of them, so that it does not matter how they are dealt out; the random numbers of a micro-batch
come from its number in the run. Two processes, or one that accumulates two, so take the same steps
to rounding, and a run that is resumed takes the very same ones.
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
from pal_plugin.training.streams import Micro
from pal_plugin.utils.errors import ConfigError, Preempted
from pal_plugin.utils.precision import Precision
from pal_plugin.utils.runtime import duration, progress_bar
from pal_plugin.utils.spelling import first_of

#: Steps in a row without anything to learn from, or left out, until it is an error.
PATIENCE = 50
_FACTS = 6  # numbers that a process tells about a micro-batch


@dataclass
class Trainer:
    """Takes optimizer steps.

    Attributes:
        task: has `train_step(model, samples)`, which returns a loss or `(loss, ...)`.
        model: what `parallel.parallelise` returned.
        plain: the model itself; `answer_tokens(samples)` says over how many tokens a loss is the
            mean (without it rows count), `audio_seconds(samples)` how much is heard.
        batches: endless `Micro`s of this process.
        accumulate: micro-batches of each process per step.
        on_nonfinite, on_out_of_memory: "stop" or "skip".
        stop: asked before every step; if it is true in any process the run is preempted.
        report: called with a dict every `log_freq` steps and behind an epoch's last.
        report_fault: called with a dict for each step that is left out or stops the run; returns
            the name of the file that it was written to.
        save: called before a step that is preempted, and every `save_every` steps.
        run_time: no step begins when it is over.
        epochs: of the whole run, for the time that is left.
    """

    task: Any
    model: nn.Module
    plain: nn.Module
    batches: Iterator[Micro]
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
                "run.on_out_of_memory=skip works in a run of one process only: the others would "
                "wait for this one's gradients"
            )
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        halves = sum(p.dtype == torch.float16 for p in self._parameters)
        if halves and self.precision.scaler.is_enabled():
            raise ConfigError(
                f"run.amp=fp16 trains weights in float32, and {halves} of those to be trained are "
                "float16, as the LLM is: set model.llm.dtype to float32, or both to bfloat16 "
                "(run.amp=bf16)"
            )
        self._turns = range(self.accumulate)
        self._ahead: deque[Micro] = deque()
        self._filler: dict | None = None
        self._idle = self._bad = 0
        self._pace = Pace(self.run_time, self.epochs)

    def epoch(self, steps: int) -> EpochStats:
        """Go on with the current epoch until it has `steps` steps, or the run's time is over.

        Raises:
            NonFiniteLossError, OutOfMemoryBatchError: names the samples.
            DataWorkerError: a process that reads data died.
            Preempted: after saving.
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
        if not reported:  # the last line before the time was over
            self.report(line)
        self._pace.stop()
        if self.run_time.is_over and first:
            told = "run.max_minutes are over (%s): training ends in epoch %d behind step %d of %d"
            logging.info(told, duration(self.run_time.seconds), now.epoch, now.step, steps)
        self._tell_skipped()
        return now.stats

    # ---- one step ---------------------------------------------------------------------------

    def _step(self) -> tuple[bool, tuple[float, float] | None]:
        """Whether a step was done, and `(loss, norm of the gradient)` if something was learned."""
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
        told = self.world.gather_numbers(mine)
        if any(numbers[0] for numbers in told):
            self.save()
            raise Preempted
        self.run_time.seconds = told[0][1]
        if self.run_time.is_over:
            return False, None
        counts = [
            numbers[2 + j * _FACTS : 2 + (j + 1) * _FACTS]
            for j in range(self.accumulate)
            for numbers in told
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
            result = self._leave_out(str(error), micros, "skip")
        self._count(micros, counts, tokens, result)
        return bool(tokens), result

    def _fetched(self) -> list[Micro]:
        """The micro-batches of a step; none where the run was told to stop and a data worker died
        of that, since what is done can still be saved."""
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
        self, micros: list[Micro], own: list[float], tokens: float
    ) -> tuple[float, float] | None:
        """`(loss, norm of the gradient)`, or None for a step that was left out."""
        if not tokens:
            self._idle += 1
            if self._idle == PATIENCE:
                raise ConfigError(
                    f"{PATIENCE} steps in a row held no usable clip; the first problems were: "
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
                # Gradients are averaged over the processes, and this is a sum.
                weight = share * self.world.size / tokens
                self.precision.scaler.scale(loss * weight).backward()
        parallel.average_whole_gradients(self.model, self.world)
        self.precision.scaler.unscale_(self.optimizer)
        norm = parallel.clip_gradients(self._parameters, self.grad_clip)
        told = self.world.gather_numbers([summed, float(finite)])
        loss = sum(numbers[0] for numbers in told) / tokens
        if not all(numbers[1] for numbers in told):
            self.precision.scaler.update()  # it has unscaled this step's gradients
            return self._leave_out(f"the loss is {loss}", micros, self.on_nonfinite)
        # fp16: the scaler leaves some steps out itself, until it has found its scale.
        scaled = self.precision.scaler.is_enabled()
        if not math.isfinite(norm) and (not scaled or self._bad + 1 >= PATIENCE):
            what = f"the norm of the gradient is {norm}"
            return self._leave_out(what, micros, self.on_nonfinite)
        self._bad = 0 if math.isfinite(norm) else self._bad + 1
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def _leave_out(self, what: str, micros: list[Micro], policy: str) -> None:
        """Write down whose samples were in a bad step, and go on or stop."""
        self.optimizer.zero_grad(set_to_none=True)
        names = [name for names in self.world.gather(ids_of_all(micros)) for name in names]
        file = self.report_fault({"where": self._where(), "what": what, "samples": names})
        self._bad += 1
        if policy == "stop" or self._bad == PATIENCE:
            raise faults.non_finite(what, self._where(), names, file)
        logging.warning("%s: %s; the step is left out (%s)", self._where(), what, file)

    def _stand_in(self, micros: list[Micro]) -> Batch:
        """A batch in place of one without clips: everybody takes part, and it counts nothing."""
        for batch in (self._filler, *(micro.batch for micro in (*micros, *self._ahead))):
            if batch is not None and rows_in(batch):
                return batch
        for _ in range(PATIENCE):  # nothing so far: look ahead
            self._ahead.append(workers.fetch(self.batches))
            if rows_in(self._ahead[-1].batch):
                return self._ahead[-1].batch
        raise ConfigError(
            f"{self.world}: its first {PATIENCE} batches hold no usable clip: "
            + "; ".join(self.progress.stats.skipped[:3])
        )

    def _facts(self, samples: Batch) -> list[float]:
        rows = rows_in(samples)
        if not rows:
            return [0.0] * _FACTS
        tokens = getattr(self.plain, "answer_tokens", rows_in)(samples)
        seconds = getattr(self.plain, "audio_seconds", lambda _: 0.0)(samples)
        names = zlib.crc32("\n".join(ids_of(samples)).encode())
        return [float(x) for x in (tokens, clips_in(samples), rows, seconds, names, 1)]

    # ---- accounting -------------------------------------------------------------------------

    def _count(
        self, micros: list[Micro], counts: list, tokens: float, result: tuple | None
    ) -> None:
        now, stats = self.progress, self.progress.stats
        now.micros += self.accumulate * self.world.size
        for micro in micros:
            now.positions[micro.position["lane"]] = micro.position
        for _, clips, rows, seconds, names, _ in counts:
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

    def _tell_skipped(self) -> None:
        stats = self.progress.stats
        everybodys = self.world.gather(stats.skipped)
        stats.skipped = [n for names in everybodys for n in names] if self.world.first else []
        if stats.skipped:
            logging.warning(
                "%d clips could not be used and were skipped: %s",
                len(stats.skipped),
                first_of(stats.skipped, "; "),
            )


def seed_micro_batch(seed: int, number: int) -> None:
    """Random numbers that depend on a micro-batch's place in the run and on nothing before it."""
    value = zlib.crc32(f"{seed}-{number}".encode())
    random.seed(value)
    np.random.seed(value)
    torch.manual_seed(value)


def ids_of_all(micros: list[Micro]) -> list[str]:
    """Names of all samples of several micro-batches."""
    return [name for micro in micros if rows_in(micro.batch) for name in ids_of(micro.batch)]


def peak_memory_bytes(device: torch.device) -> int:
    """The largest memory so far: of tensors on a GPU, of the process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {g.get("name", str(i)): g["lr"] for i, g in enumerate(optimizer.param_groups)}


def _short(line: dict) -> str:
    """What a progress bar shows."""
    told = (
        f"loss {_number(line['recent_loss'])} lr {line['lr']:.1e} {line['clips_per_s']:.0f} clips/s"
    )
    return f"{told}, ETA of the run {duration(line['seconds_left'])}"


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
