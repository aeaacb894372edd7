"""`runner_pal`: LAVIS's runner without its traps, for one process on a CPU or one GPU.

It keeps LAVIS's constructor, properties and flow (train, evaluate each epoch, keep the best, test
with the best) and overrides what framework.md lists as broken. Any LAVIS task with `train_step`
and `valid_step` runs in it; the model needs `save_checkpoint(path, **meta)` and
`load_checkpoint(path)`.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lavis.common.registry import registry
from lavis.runners.runner_base import RunnerBase

from pal_plugin.errors import ConfigError
from pal_plugin.runners import loaders, loop, report
from pal_plugin.runners.rundir import BEST, LAST, new_run_dir


@registry.register_runner("runner_pal")
class RunnerPal(RunnerBase):
    """Trains and evaluates one model.

    Args:
        cfg: `pal_plugin.config.Config`.
        task: made by `setup_task`.
        model: on any device; it is moved to `run.device`.
        datasets: `{dataset: {split: dataset}}` as `task.build_datasets` returns it.
        job_id: name of the run folder; None makes a unique one.
    """

    def __init__(self, cfg: Any, task: Any, model: Any, datasets: dict, job_id: str | None = None):
        self.splits = _by_split(datasets)
        self.metrics: dict[str, dict] = {}
        self.best_epoch: int | None = None
        self.best_metric = -math.inf  # metrics may be negative
        self._train_batches: Iterator | None = None
        super().__init__(cfg, task, model, datasets, job_id)
        self._require_splits()

    # ---- where things are -------------------------------------------------------------------

    def setup_output_dir(self) -> None:
        """A unique folder under the working directory, with `config.yaml` in it."""
        run = self.config.run_cfg
        self.output_dir = new_run_dir(run.output_dir, run.name, self.job_id)
        self.job_id = self.output_dir.name
        self.result_dir = self.output_dir / "result"
        self.result_dir.mkdir()
        # register_path refuses a second runner in one process, so the map is written directly.
        registry.mapping["paths"]["output_dir"] = str(self.output_dir)
        registry.mapping["paths"]["result_dir"] = str(self.result_dir)
        self.config.save(self.output_dir / "config.yaml")

    @property
    def device(self) -> torch.device:
        if self._device is None:
            name = self.config.run_cfg.device
            if name == "auto":
                name = "cuda" if torch.cuda.is_available() else "cpu"
            try:
                self._device = torch.device(name)
            except RuntimeError as error:
                raise ConfigError(f"run.device is {name!r}: {str(error).splitlines()[0]}") from None
            if self._device.type == "cuda" and not torch.cuda.is_available():
                raise ConfigError("run.device=cuda, but torch sees no cuda device here; use auto")
        return self._device

    @property
    def use_distributed(self) -> bool:
        return False

    @property
    def model(self) -> torch.nn.Module:
        """The model on `run.device`."""
        if self._wrapped_model is None:
            self._wrapped_model = self._model.to(self.device)
        return self._wrapped_model

    # ---- what trains ------------------------------------------------------------------------

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW over `model.param_groups(weight_decay)`, or over matrices and the rest apart."""
        if self._optimizer is None:
            run = self.config.run_cfg
            decay = float(run.weight_decay)
            groups = (
                self.model.param_groups(decay)
                if hasattr(self.model, "param_groups")
                else _two_groups(self.model, decay)
            )
            groups = [g for g in groups if g["params"]]
            if not groups:
                raise ConfigError(
                    "nothing is trainable: see model.stage (connectors: full, llm: lora, ...)"
                )
            for group in groups:  # an absolute peak becomes a factor, which schedules can keep
                if "lr" in group:
                    group["lr_scale"] = group["lr"] / self.init_lr
            self._optimizer = torch.optim.AdamW(
                groups, lr=self.init_lr, weight_decay=decay, betas=(0.9, float(run.beta2))
            )
        return self._optimizer

    @cached_property
    def precision(self) -> loop.Precision:
        return loop.Precision(self.config.run_cfg.amp, self.device)

    @property
    def scaler(self) -> torch.amp.GradScaler:
        return self.precision.scaler

    @property
    def lr_scheduler(self) -> Any:
        if self._lr_sched is None:
            run = self.config.run_cfg
            self._lr_sched = registry.get_lr_scheduler_class(run.lr_sched)(
                optimizer=self.optimizer,
                max_epoch=self.max_epoch,
                steps_per_epoch=self.steps_per_epoch,
                init_lr=self.init_lr,
                min_lr=self.min_lr,
                warmup_start_lr=float(run.warmup_lr),
                warmup_steps=int(run.warmup_steps),
                decay_rate=run.lr_decay_rate,
            )
        return self._lr_sched

    # ---- data -------------------------------------------------------------------------------

    @cached_property
    def train_datasets(self) -> dict[str, Any]:
        """Training datasets by name; a dataset in several train splits is listed per split."""
        return {
            name if len(self.train_splits) == 1 else f"{name}.{split}": dataset
            for split in self.train_splits
            for name, dataset in self.splits[split].items()
        }

    @cached_property
    def steps_per_epoch(self) -> int:
        run = self.config.run_cfg
        return loaders.steps_per_epoch(
            self.train_datasets, int(run.batch_size_train), run.steps_per_epoch
        )

    @cached_property
    def train_loader(self) -> loaders.MixedLoader:
        run = self.config.run_cfg
        built = {
            name: self._loader(dataset, int(run.batch_size_train), train=True)
            for name, dataset in self.train_datasets.items()
        }
        weights = loaders.mixing_weights(self.train_datasets, run.train_dataset_ratios)
        return loaders.MixedLoader(built, weights, int(run.seed))

    @property
    def dataloaders(self) -> dict[str, Any]:
        """All loaders: the training mixture under "train", one per dataset for other splits."""
        held_out = {
            split: {
                name: self._loader(dataset, int(self.config.run_cfg.batch_size_eval), train=False)
                for name, dataset in self.splits[split].items()
            }
            for split in self._evaluated_splits()
        }
        return held_out if self.evaluate_only else {"train": self.train_loader, **held_out}

    def _loader(self, dataset: Any, batch_size: int, *, train: bool) -> Any:
        run = self.config.run_cfg
        return loaders.build_loader(
            dataset,
            batch_size,
            int(run.num_workers),
            train=train,
            seed=int(run.seed),
            pin_memory=self.cuda_enabled,
        )

    # ---- the run ----------------------------------------------------------------------------

    def train(self) -> dict[str, dict]:
        """The whole run. Returns the metrics by split, which `metrics.json` holds too."""
        started = time.time()
        if self.evaluate_only:
            return self.evaluate()
        logging.info("run folder: %s", self.output_dir)
        if hasattr(self.model, "trainable_table"):
            logging.info("parameters by component\n%s", self.model.trainable_table())
        for epoch in range(self.start_epoch, self.max_epoch):
            stats = self.train_epoch(epoch)
            self.log_stats({"epoch": epoch, **stats}, "train")
            self._save_checkpoint(epoch)
            for split in self.valid_splits:
                self._validate(split, epoch)
            if not self.valid_splits:
                self._save_checkpoint(epoch, is_best=True)
                self.best_epoch = epoch
        self._reload_best_model(self.model)
        for split in self.test_splits:
            if split not in self.valid_splits:  # of these the best epoch's figures are known
                self.eval_epoch(split, cur_epoch="best")
        return self._finish(started)

    def evaluate(self, cur_epoch: str | int = "best", skip_reload: bool = True) -> dict[str, dict]:
        """Evaluate the model as it is on every valid and test split, without training."""
        started = time.time()
        if not skip_reload:
            self._reload_best_model(self.model)
        for split in self._evaluated_splits():
            self.eval_epoch(split, cur_epoch)
        return self._finish(started)

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """One epoch of `steps_per_epoch` batches; the stream goes on where the last one ended."""
        run = self.config.run_cfg
        if self._train_batches is None:
            self._train_batches = iter(self.train_loader)
        stats = loop.train_epoch(
            task=self.task,
            model=self.model,
            batches=self._train_batches,
            steps=self.steps_per_epoch,
            epoch=epoch,
            optimizer=self.optimizer,
            schedule=self.lr_scheduler,
            precision=self.precision,
            device=self.device,
            accumulate=self.accum_grad_iters,
            grad_clip=None if run.grad_clip is None else float(run.grad_clip),
            log_freq=self.log_freq,
            log=lambda line: self.log_stats(line, "train_step"),
        )
        return stats.summary()

    def eval_epoch(self, split_name: str, cur_epoch: str | int, skip_reload: bool = True) -> dict:
        """Evaluate one split and keep its metrics and predictions.

        Returns:
            what the task's `after_evaluation` returned: `agg_metrics` and the metrics by task.
        """
        log, rows = self._evaluate_split(split_name, cur_epoch)
        self._keep(split_name, log, rows)
        return log

    def _evaluate_split(self, split: str, epoch: str | int) -> tuple[dict, list]:
        rows: list = []
        for name, dataset in self.splits[split].items():
            self.task.before_evaluation(model=self.model, dataset=dataset)
            found = loop.evaluate(
                task=self.task,
                model=self.model,
                batches=self._loader(
                    dataset, int(self.config.run_cfg.batch_size_eval), train=False
                ),
                clips=loaders.clips_of(dataset),
                split=split if len(self.splits[split]) == 1 else f"{split} {name}",
                precision=self.precision,
                device=self.device,
            )
            if len(self.splits[split]) > 1:
                found = [{**row, "dataset": name} for row in found]
            rows.extend(found)
        if not rows:
            raise ConfigError(
                f"the split {split!r} held nothing to evaluate: no clip, or no question of the "
                "chosen tasks"
            )
        log = self.task.after_evaluation(val_result=rows, split_name=split, epoch=epoch)
        if not isinstance(log, dict) or "agg_metrics" not in log:
            raise TypeError(
                f"{type(self.task).__name__}.after_evaluation must return a dict with "
                f"'agg_metrics', got {log!r}"
            )
        self.log_stats({"epoch": epoch, **log}, split)
        return log, rows

    def _validate(self, split: str, epoch: int) -> None:
        log, rows = self._evaluate_split(split, epoch)
        selects = split == self.valid_splits[0]
        metric = float(log["agg_metrics"])
        # The first epoch counts even with a metric that is not a number: a checkpoint is kept.
        if selects and (self.best_epoch is None or metric > self.best_metric):
            self.best_metric, self.best_epoch = metric, epoch
            self._save_checkpoint(epoch, is_best=True, metrics={split: _entries(log)})
        logging.info(
            "epoch %d  %s %s %.4f (best %.4f in epoch %s)",
            epoch,
            split,
            self.config.run_cfg.select_by,
            metric,
            self.best_metric,
            self.best_epoch,
        )
        if self.best_epoch == epoch:  # metrics.json and result/ describe the best checkpoint
            self._keep(split, log, rows)

    def _keep(self, split: str, log: dict, rows: list) -> None:
        self.metrics[split] = _entries(log)
        report.write_jsonl(self.result_dir / f"{split}.jsonl", rows)
        report.write_json(self.output_dir / "metrics.json", self.metrics)

    def _finish(self, started: float) -> dict[str, dict]:
        logging.info("\n%s", report.table(self.metrics))
        if not self.evaluate_only:
            logging.info("best checkpoint (epoch %s): %s", self.best_epoch, self.output_dir / BEST)
        minutes, seconds = divmod(int(time.time() - started), 60)
        logging.info(
            "metrics: %s  (%d min %02d s)", self.output_dir / "metrics.json", minutes, seconds
        )
        return self.metrics

    # ---- files ------------------------------------------------------------------------------

    def _save_checkpoint(
        self, cur_epoch: int, is_best: bool = False, metrics: dict | None = None
    ) -> Path:
        """Trainable weights as safetensors and the facts about them as JSON beside it.

        The files appear whole or not at all: an interrupted run leaves the previous ones.
        """
        path = self.output_dir / (BEST if is_best else LAST)
        config = self.config.to_dict()
        with report.staged(path) as staging:
            self.model.save_checkpoint(
                staging,
                recipe=config["run"]["name"],
                run=self.job_id,
                epoch=cur_epoch,
                step=(cur_epoch + 1) * self.steps_per_epoch,
                metrics=report.jsonable(metrics or {}),
                seed=config["run"]["seed"],
            )
        return path

    def _reload_best_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The best checkpoint if it is not what the model holds already."""
        if (self.output_dir / BEST).is_file() and self.best_epoch != self.max_epoch - 1:
            model.load_checkpoint(str(self.output_dir / BEST))
        return model

    def log_stats(self, stats: dict, split_name: str) -> None:
        """One JSON line in `log.txt`; tensors and arrays become numbers."""
        with (self.output_dir / "log.txt").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": split_name, **report.jsonable(stats)}) + "\n")

    def log_config(self) -> None:
        """`config.yaml` is written with the folder, and `log.txt` holds JSON lines only."""

    def _evaluated_splits(self) -> list[str]:
        return list(dict.fromkeys([*self.valid_splits, *self.test_splits]))

    def _require_splits(self) -> None:
        wanted = {"valid_splits": self.valid_splits, "test_splits": self.test_splits}
        if not self.evaluate_only:
            wanted["train_splits"] = self.train_splits
            if not self.train_splits:
                raise ConfigError("run.train_splits is empty; give a split to train on")
            both = set(self.train_splits) & set(self._evaluated_splits())
            if both:
                raise ConfigError(
                    f"the split {sorted(both)[0]!r} is trained on and evaluated: its stream never "
                    "ends, and the figures would say nothing; give evaluation a split of its own"
                )
        elif not self._evaluated_splits():
            raise ConfigError("nothing to evaluate: run.valid_splits and run.test_splits are empty")
        for split in self._evaluated_splits():
            if any(getattr(d, "train", False) for d in self.splits.get(split, {}).values()):
                raise ConfigError(
                    f"the split {split!r} is made for training (shuffled, without an end) and "
                    "cannot be evaluated; give it another name in the dataset"
                )
        for key, names in wanted.items():
            for name in names:
                if name not in self.splits:
                    raise ConfigError(
                        f"run.{key} names the split {name!r}; the datasets have "
                        f"{', '.join(self.splits) or 'none'}"
                    )


def _by_split(datasets: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {}
    for name, of_dataset in datasets.items():
        for split, dataset in of_dataset.items():
            splits.setdefault(split, {})[name] = dataset
    return splits


def _two_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]


def _entries(log: dict) -> dict:
    """The task's entries of a log, without the bookkeeping beside them."""
    return {key: value for key, value in log.items() if isinstance(value, dict)}
