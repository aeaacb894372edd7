"""What a run needs to go on after an interruption, and how it goes on."""

from __future__ import annotations

import json
import logging
import math
import os
from pathlib import Path
from typing import Any

from pal_plugin.models import checkpoint
from pal_plugin.training import checkpointing as checkpoints
from pal_plugin.training.parts import RunnerParts
from pal_plugin.utils import files

_BAD_STEPS = "bad_steps.jsonl"


class RunnerState(RunnerParts):
    """The part of the runner that saves and restores; see `RunnerPal` for arguments."""

    def __init__(self, cfg: Any, task: Any, model: Any, datasets: dict, job_id: str | None = None):
        self.metrics: dict[str, dict] = {}
        self.evaluation: dict[str, dict] = {}
        self.best_epoch: int | None = None
        self.best_metric = -math.inf  # metrics may be negative
        super().__init__(cfg, task, model, datasets, job_id)

    def save_state(self) -> Path | None:
        """All that the run needs to go on from here; see `checkpoints`."""
        now = self.progress
        kept = {
            "progress": now.to_json() | {"positions": self._positions()},
            "metrics": files.jsonable(self.metrics),
            "evaluation": files.jsonable(self.evaluation),
            "best_epoch": self.best_epoch,
            "best_metric": None if math.isinf(self.best_metric) else self.best_metric,
            "scaler": self.scaler.state_dict(),
            "lanes": self.lanes,
            "micros_per_step": self.accum_grad_iters * self.world.size,
            "steps_per_epoch": self.steps_per_epoch,
            "trained": checkpoints.trained_names(self.optimizer, self.model),
            "world_size": self.world.size,
        }
        skipped = self.world.gather(now.stats.skipped)
        kept["progress"]["stats"]["skipped"] = [name for names in skipped for name in names]
        tensors = checkpoints.optimizer_tensors(self.optimizer, self.model)
        weights = checkpoint.trained_state(self.model) if self.sharded else None
        if not self.world.first:
            self.world.wait()
            return None
        path = checkpoints.write(
            self.output_dir,
            now.global_step,
            lambda file: self._save_model(file, now.epoch, weights),
            tensors,
            kept | {"log_bytes": self.watch.size(), "faults_bytes": self._faults_size()},
            self._count("keep_checkpoints", 1),
        )
        self.world.wait()
        return path

    def _restore(self) -> None:
        """Go on behind the newest checkpoint, if there is one."""
        if self.resumed is None:
            if self.config.run_cfg.resume and self.world.first:
                logging.info("no checkpoint to go on from: starting at the beginning")
                self.watch.cut(0)
            return
        path, state = self.resumed
        self.metrics, self.evaluation = state["metrics"], state["evaluation"]
        self.best_epoch = state["best_epoch"]
        self.best_metric = -math.inf if state["best_metric"] is None else state["best_metric"]
        self.scaler.load_state_dict(state["scaler"])
        if not self.world.first:
            return
        self.watch.cut(state["log_bytes"])
        if self._faults_size() > state["faults_bytes"]:
            os.truncate(self.output_dir / _BAD_STEPS, state["faults_bytes"])
        logging.info(
            "going on behind step %d of epoch %d (%s)",
            self.progress.step,
            self.progress.epoch,
            path,
        )
        micros = self.accum_grad_iters * self.world.size
        if micros != state["micros_per_step"]:
            logging.warning(
                "a step has %d batches now and had %d: the samples go on exactly where they were, "
                "each once, but they are grouped into other steps, so losses will differ. "
                "run.accum_grad_iters x processes = %d keeps them",
                micros,
                state["micros_per_step"],
                state["micros_per_step"],
            )

    def _positions(self) -> dict[int, dict]:
        """Of every lane the farthest position: each process knows its own batches."""
        farthest: dict[int, dict] = {}
        for known in self.world.gather(self.progress.positions):
            for lane, position in known.items():
                if position["place"] > farthest.get(lane, {"place": -1})["place"]:
                    farthest[lane] = position
        return farthest

    def _faults_size(self) -> int:
        file = self.output_dir / _BAD_STEPS
        return file.stat().st_size if file.is_file() else 0

    def report_fault(self, fault: dict) -> str:
        """Write down a step that was left out or stopped the run; returns the file's name."""
        if self.world.first:
            with (self.output_dir / _BAD_STEPS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(files.jsonable(fault)) + "\n")
        return _BAD_STEPS

    def _save_model(
        self, path: Path, epoch: int, weights: dict | None, metrics: dict | None = None
    ) -> None:
        run = self.config.to_dict()["run"]
        self.model.save_checkpoint(
            path,
            **({} if weights is None else {"state": weights}),
            recipe=run["name"],
            run=self.job_id,
            epoch=epoch,
            step=self.progress.global_step,
            metrics=metrics or {},
            seed=run["seed"],
        )
