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
from pathlib import Path
from typing import Any

import torch
from lavis.common.registry import registry

from pal_plugin.errors import ConfigError
from pal_plugin.models.locations import resolve
from pal_plugin.runners import answered, loaders, loop, provenance, report
from pal_plugin.runners.completeness import Tally
from pal_plugin.runners.parts import RunnerParts
from pal_plugin.runners.rundir import BEST, LAST


@registry.register_runner("runner_pal")
class RunnerPal(RunnerParts):
    """Trains and evaluates one model.

    Args:
        cfg: `pal_plugin.config.Config`.
        task: made by `setup_task`.
        model: on any device; it is moved to `run.device`.
        datasets: `{dataset: {split: dataset}}` as `task.build_datasets` returns it.
        job_id: name of the run folder; None makes a unique one.
    """

    def __init__(self, cfg: Any, task: Any, model: Any, datasets: dict, job_id: str | None = None):
        self.metrics: dict[str, dict] = {}
        self.evaluation: dict[str, dict] = {}
        self.best_epoch: int | None = None
        self.best_metric = -math.inf  # metrics may be negative
        super().__init__(cfg, task, model, datasets, job_id)

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
        if self.evaluate_only:
            logging.info(
                "run folder: %s (after an interruption, the same command with --job-id %s goes on)",
                self.output_dir,
                self.job_id,
            )
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
        log, rows, left_out = self._evaluate_split(split_name, cur_epoch)
        self._keep(split_name, log, rows, left_out)
        return log

    def _evaluate_split(self, split: str, epoch: str | int) -> tuple[dict, list, list[str]]:
        parts: list[list] = []
        left_out: list[str] = []
        known = self._answered(split)
        for name, dataset in self.splits[split].items():
            self.task.before_evaluation(model=self.model, dataset=dataset)
            if known is not None:
                rows = known.begin(name if len(self.splits[split]) > 1 else None)
                if rows and hasattr(self.task, "resume"):
                    self.task.resume(rows)
            tally = Tally(dataset, split if len(self.splits[split]) == 1 else f"{split} {name}")
            found, missed = loop.evaluate(
                task=self.task,
                model=self.model,
                batches=tally.counted(
                    self._loader(dataset, int(self.config.run_cfg.batch_size_eval), train=False)
                ),
                clips=loaders.clips_of(dataset),
                split=tally.name,
                precision=self.precision,
                device=self.device,
                answered=known,
            )
            if len(self.splits[split]) > 1:
                found = [{**row, "dataset": name} for row in found]
            parts.append(found)
            left_out.extend(tally.left_out(missed))
        if known is not None:
            known.close()
        rows = answered.merge_rows(parts)
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
        return log, rows, left_out

    def _answered(self, split: str) -> answered.Answered | None:
        """Where the rows of an evaluation are kept; while training, weights change too soon."""
        if not self.evaluate_only:
            return None
        settings = provenance.settings(self.config.to_dict(), self._checkpoint_file())
        return answered.Answered(self.result_dir / f"{split}{answered.SUFFIX}", settings)

    def _checkpoint_file(self) -> Path | None:
        """The file of the weights that are evaluated."""
        if not self.evaluate_only:
            return self.output_dir / BEST
        location = self.config.model_cfg.get("checkpoint")
        return Path(resolve(location)) if location else None

    def _validate(self, split: str, epoch: int) -> None:
        log, rows, left_out = self._evaluate_split(split, epoch)
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
            self._keep(split, log, rows, left_out)

    def _keep(self, split: str, log: dict, rows: list, left_out: list[str]) -> None:
        self.metrics[split] = _entries(log)
        report.write_jsonl(self.result_dir / f"{split}.jsonl", rows)
        report.write_json(self.output_dir / "metrics.json", self.metrics)
        sizes = [loaders.clips_of(dataset) for dataset in self.splits[split].values()]
        described = {
            "provenance": provenance.describe(
                self.config.to_dict(),
                self.model,
                rows,
                checkpoint=self._checkpoint_file(),
                left_out=left_out,
                clips=None if None in sizes else sum(sizes),
                device=self.device,
            )
        }
        if hasattr(self.task, "describe"):
            described["figures"] = self.task.describe(split)
        if self.evaluate_only and hasattr(self.task, "write_files"):
            described["files missing"] = self.task.write_files(rows, split, self.result_dir)
        self.evaluation[split] = described
        report.write_json(self.output_dir / "evaluation.json", self.evaluation)

    def _finish(self, started: float) -> dict[str, dict]:
        for partial in self.result_dir.glob(f"*{answered.SUFFIX}"):
            partial.unlink()  # result/SPLIT.jsonl has these rows
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


def _entries(log: dict) -> dict:
    """The task's entries of a log, without the bookkeeping beside them."""
    return {key: value for key, value in log.items() if isinstance(value, dict)}
