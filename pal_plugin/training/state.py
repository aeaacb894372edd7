"""Saves a run's state to its folder, and restores it to resume."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

from pal_plugin.config.run_config import RunConfig
from pal_plugin.config.trained import BEST, LAST
from pal_plugin.evaluation.splits import SplitEvaluator
from pal_plugin.models import checkpoint
from pal_plugin.training import checkpointing
from pal_plugin.training.components import ModelOnDevice, Training
from pal_plugin.training.distributed import World
from pal_plugin.training.metric_logger import MetricLogger
from pal_plugin.training.run_folder import RunFolder
from pal_plugin.training.saving import save_errors
from pal_plugin.utils import files

_BAD_STEPS = "bad_steps.jsonl"


@dataclass
class Best:
    """The epoch of the best checkpoint, and its metric; larger is better."""

    epoch: int | None = None
    metric: float = -math.inf  # metrics may be negative

    def improved(self, epoch: int, metric: float) -> bool:
        """Record this epoch if it is the best so far; returns whether it is.

        The first epoch counts even if its metric is NaN, so that a best checkpoint exists.
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
        place, training: the components whose state is saved.
        evaluator: its metrics are saved too.
        best: epoch and metric of the best checkpoint.
        logger: of rank 0, None on the others.
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
        """Write a checkpoint to resume from; see `checkpointing`. Collective.

        Returns:
            Its folder on rank 0, None on the others.

        Raises:
            SaveError: the checkpoint could not be written.
        """
        now, training = self.training.progress, self.training
        kept = {
            "progress": now.to_json() | {"positions": self._positions()},
            "seconds": training.run_time.now(),
            "metrics": files.jsonable(self.evaluator.metrics),
            "evaluation": files.jsonable(self.evaluator.evaluation),
            "best_epoch": self.best.epoch,
            "best_metric": None if math.isinf(self.best.metric) else self.best.metric,
            "scaler": self.place.precision.scaler.state_dict(),
            "shard_streams": training.streams,
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
        """Resume after the newest checkpoint, if there is one."""
        if self.folder.resumed is None:
            if self.cfg.run_cfg.resume and self.world.first:
                logging.info("no checkpoint to resume from: starting from the beginning")
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
                "a step has %d micro-batches now and had %d: the sample order continues exactly, "
                "each sample once, but steps group other samples, so losses will differ. Keep "
                "run.accum_grad_iters x processes at %d to avoid this",
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
        """Write the trainable weights as safetensors, with a JSON of metadata next to them.

        The files are replaced atomically: an interrupted save leaves the previous ones.

        Args:
            epoch: current epoch.
            best: write the best checkpoint instead of the last one.
            metrics, score: go into the JSON.

        Raises:
            SaveError: they could not be written.
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
        """Append a skipped or fatal step to `bad_steps.jsonl`; returns the file's name."""
        if self.world.first:
            with (self.folder.path / _BAD_STEPS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(files.jsonable(fault)) + "\n")
        return _BAD_STEPS

    def _gathered(self) -> dict | None:
        """Trainable weights gathered from their shards; None where they are not sharded."""
        return checkpoint.trained_state(self.place.model) if self.place.sharded else None

    def _positions(self) -> dict[int, dict]:
        """The farthest position of every shard stream: each rank knows its own batches only."""
        farthest: dict[int, dict] = {}
        for known in self.world.gather(self.training.progress.positions):
            for stream, position in known.items():
                if position["place"] > farthest.get(stream, {"place": -1})["place"]:
                    farthest[stream] = position
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
