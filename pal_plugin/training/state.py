"""What a run needs to resume, written to its folder and read again."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

from pal_plugin.config.run_config import RunConfig
from pal_plugin.evaluation.splits import SplitEvaluator
from pal_plugin.models import checkpoint
from pal_plugin.training import checkpointing
from pal_plugin.training.components import ModelOnDevice, Training
from pal_plugin.training.distributed import World
from pal_plugin.training.metric_logger import MetricLogger
from pal_plugin.training.run_folder import BEST, LAST, RunFolder
from pal_plugin.training.saving import save_errors
from pal_plugin.utils import files

_BAD_STEPS = "bad_steps.jsonl"


@dataclass
class Best:
    """The epoch whose checkpoint is kept as the best, and its metric; larger is better."""

    epoch: int | None = None
    metric: float = -math.inf  # metrics may be negative

    def improved(self, epoch: int, metric: float) -> bool:
        """Whether this epoch is the best so far, which it is from now on.

        The first epoch counts even with a metric that is not a number: a checkpoint is kept.
        """
        if self.epoch is not None and not metric > self.metric:
            return False
        self.epoch, self.metric = epoch, metric if math.isfinite(metric) else -math.inf
        return True


@dataclass
class RunState:
    """Saves and restores a run.

    Attributes:
        cfg, folder, world: of the run.
        place, training: the parts whose state is kept.
        evaluator: whose metrics go along.
        logger: of the first process, None in the others.
    """

    cfg: RunConfig
    folder: RunFolder
    world: World
    place: ModelOnDevice
    training: Training
    evaluator: SplitEvaluator
    best: Best
    logger: MetricLogger | None

    def save(self) -> Path | None:
        """All that the run needs to resume from here; see `checkpointing`."""
        now, training = self.training.progress, self.training
        kept = {
            "progress": now.to_json() | {"positions": self._positions()},
            "seconds": training.run_time.now(),
            "metrics": files.jsonable(self.evaluator.metrics),
            "evaluation": files.jsonable(self.evaluator.evaluation),
            "best_epoch": self.best.epoch,
            "best_metric": None if math.isinf(self.best.metric) else self.best.metric,
            "scaler": self.place.precision.scaler.state_dict(),
            "lanes": training.lanes,
            "micros_per_step": training.micros,
            "steps_per_epoch": training.steps_per_epoch,
            "trained": checkpointing.trained_names(training.optimizer, self.place.model),
            "world_size": self.world.size,
        }
        skipped = self.world.gather(now.stats.skipped)
        kept["progress"]["stats"]["skipped"] = [name for names in skipped for name in names]
        tensors = checkpointing.optimizer_tensors(training.optimizer, self.place.model)
        weights = self._gathered()
        path = None
        if self.world.first:
            path = checkpointing.write(
                self.folder.path,
                now.global_step,
                lambda file: self._write_model(file, now.epoch, weights),
                tensors,
                kept | {"log_bytes": self.logger.size(), "faults_bytes": self._faults_size()},
                int(self.cfg.run_cfg.keep_checkpoints),
            )
        self.world.wait()
        return path

    def restore(self) -> None:
        """Continue after the newest checkpoint, if there is one."""
        if self.folder.resumed is None:
            if self.cfg.run_cfg.resume and self.world.first:
                logging.info("no checkpoint to resume from: starting at the beginning")
                self.logger.cut(0)
            return
        path, state = self.folder.resumed
        self.evaluator.metrics, self.evaluator.evaluation = state["metrics"], state["evaluation"]
        self.best.epoch = state["best_epoch"]
        self.best.metric = -math.inf if state["best_metric"] is None else state["best_metric"]
        self.place.precision.scaler.load_state_dict(state["scaler"])
        if not self.world.first:
            return
        self.logger.cut(state["log_bytes"])
        if self._faults_size() > state["faults_bytes"]:
            os.truncate(self.folder.path / _BAD_STEPS, state["faults_bytes"])
        now = self.training.progress
        logging.info("resuming after step %d of epoch %d (%s)", now.step, now.epoch, path)
        if self.training.micros != state["micros_per_step"]:
            logging.warning(
                "a step has %d batches now and had %d: the samples continue exactly where they "
                "were, each once, but they are grouped into other steps, so losses will differ. "
                "run.accum_grad_iters x processes = %d keeps them",
                self.training.micros,
                state["micros_per_step"],
                state["micros_per_step"],
            )

    def save_weights(
        self,
        epoch: int,
        *,
        best: bool = False,
        metrics: dict | None = None,
        score: dict[str, float] | None = None,
    ) -> Path:
        """Trained weights as safetensors and the facts about them as JSON beside it.

        The files appear whole or not at all: an interrupted run leaves the previous ones.
        """
        path = self.folder.path / (BEST if best else LAST)
        weights = self._gathered()
        if self.world.first:
            with save_errors(path, self.folder.path), files.staged(path) as staging:
                facts = {"metrics": metrics or {}, "score": score or {}}
                self._write_model(staging, epoch, weights, files.jsonable(facts))
        self.world.wait()
        return path

    def report_fault(self, fault: dict) -> str:
        """Write down a step that was left out or stopped the run; returns the file's name."""
        if self.world.first:
            with (self.folder.path / _BAD_STEPS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(files.jsonable(fault)) + "\n")
        return _BAD_STEPS

    def _gathered(self) -> dict | None:
        """Trained weights put together from their shards; None where they are whole."""
        return checkpoint.trained_state(self.place.model) if self.place.sharded else None

    def _positions(self) -> dict[int, dict]:
        """Of every lane the farthest position: each process knows its own batches."""
        farthest: dict[int, dict] = {}
        for known in self.world.gather(self.training.progress.positions):
            for lane, position in known.items():
                if position["place"] > farthest.get(lane, {"place": -1})["place"]:
                    farthest[lane] = position
        return farthest

    def _faults_size(self) -> int:
        file = self.folder.path / _BAD_STEPS
        return file.stat().st_size if file.is_file() else 0

    def _write_model(
        self, path: Path, epoch: int, weights: dict | None, facts: dict | None = None
    ) -> None:
        run = self.cfg.run_cfg
        self.place.model.save_checkpoint(
            path,
            **({} if weights is None else {"state": weights}),
            recipe=run.name,
            run=self.folder.path.name,
            epoch=epoch,
            step=self.training.progress.global_step,
            seed=run.seed,
            **(facts or {"metrics": {}}),
        )
