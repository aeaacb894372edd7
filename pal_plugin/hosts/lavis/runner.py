"""`runner_pal`: a run with LAVIS's runner interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lavis.common.registry import registry

from pal_plugin.config.run_config import RunConfig
from pal_plugin.training.run import Run


@registry.register_runner("runner_pal")
class RunnerPal:
    """LAVIS's constructor, properties and methods around a `Run`, which does the work.

    It is no RunnerBase: half of its members do not work for streams, on the CPU, or for several
    processes, and nothing in LAVIS requires the base class.

    Args:
        cfg: from `pal_plugin.config.load_config`.
        task, model, datasets, job_id: as in `Run`.

    Raises:
        TypeError: `cfg` is LAVIS's own Config, which lacks the defaults of `run:`.
    """

    def __init__(
        self,
        cfg: RunConfig,
        task: Any,
        model: torch.nn.Module,
        datasets: dict[str, dict[str, Any]],
        job_id: str | None = None,
    ) -> None:
        if not isinstance(cfg, RunConfig):
            raise TypeError(
                f"runner_pal: expected a RunConfig (pal_plugin.config.load_config), got "
                f"{type(cfg).__name__}; start with train.py or `pal train`"
            )
        self.config, self.task = cfg, task
        self.run = Run(cfg, task, model, datasets, job_id)
        self.job_id = self.output_dir.name
        # register_path refuses a second runner in one process, so write the map directly.
        paths = {"output_dir": str(self.output_dir), "result_dir": str(self.result_dir)}
        registry.mapping["paths"].update(paths)

    def train(self) -> dict[str, dict]:
        """Train, or evaluate if `run.evaluate` is set; returns metrics by split."""
        return self.evaluate() if self.evaluate_only else self.run.train()

    def evaluate(self, cur_epoch: str | int = "best", skip_reload: bool = True) -> dict[str, dict]:
        """Evaluate every valid and test split; returns metrics by split."""
        if not skip_reload:
            self.run.load_best()
        return self.run.evaluate(cur_epoch)

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Train one epoch; returns its statistics."""
        return self.run.train_epoch(epoch)

    def eval_epoch(self, split_name: str, cur_epoch: str | int, skip_reload: bool = True) -> dict:
        """Evaluate one split; returns the task's metrics."""
        if not skip_reload:
            self.run.load_best()
        return self.run.evaluate_split(split_name, cur_epoch)

    @property
    def output_dir(self) -> Path:
        """The run folder."""
        return self.run.folder.path

    @property
    def result_dir(self) -> Path:
        """The folder of predictions."""
        return self.output_dir / "result"

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return self.run.place.device

    @property
    def model(self) -> torch.nn.Module:
        """The model, without DDP."""
        return self.run.place.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer of the trainable parameters."""
        return self.run.training.optimizer

    @property
    def scaler(self) -> torch.amp.GradScaler:
        """The gradient scaler; disabled unless `run.amp` is fp16."""
        return self.run.place.precision.scaler

    @property
    def lr_scheduler(self) -> Any:
        """The learning rate schedule."""
        return self.run.training.schedule

    @property
    def dataloaders(self) -> dict[str, Any]:
        """The training loader under "train"; for other splits one loader per dataset."""
        run = self.run
        loaders: dict[str, Any] = {} if self.evaluate_only else {"train": run.training.batches()}
        for split in self.config.evaluated_splits:
            loaders[split] = {
                name: run.evaluator.loader(dataset, self.device, divided=not run.place.sharded)
                for name, dataset in run.evaluator.splits[split].items()
            }
        return loaders

    @property
    def max_epoch(self) -> int:
        """Number of epochs."""
        return int(self.config.run_cfg.max_epoch)

    @property
    def evaluate_only(self) -> bool:
        """Whether the run only evaluates."""
        return bool(self.config.run_cfg.evaluate)
