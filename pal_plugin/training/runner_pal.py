"""`runner_pal`: LAVIS's runner without its traps, on a laptop and on a cluster.

It keeps LAVIS's constructor, properties and flow (train, evaluate each epoch, keep the best, test
with the best). Any LAVIS task with `train_step` and `valid_step` runs in it; the model needs
`save_checkpoint(path, **meta)` and `load_checkpoint(path)`.

Design choice: epochs and evaluations here, steps in `training.Trainer`, what an interruption needs
in `state.RunnerState`, building in `parts.RunnerParts`. All processes run the same lines; the first
one writes.
"""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from lavis.common.registry import registry

from pal_plugin.datasets.collate import clips_of
from pal_plugin.evaluation import answered, loop, provenance
from pal_plugin.evaluation.completeness import Tally
from pal_plugin.evaluation.samples_page import write_page
from pal_plugin.models import checkpoint
from pal_plugin.training import loaders, report
from pal_plugin.training.preemption import Preempted
from pal_plugin.training.rundir import BEST, FINISHED, LAST
from pal_plugin.training.state import RunnerState
from pal_plugin.utils import files
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.locations import resolve


@registry.register_runner("runner_pal")
class RunnerPal(RunnerState):
    """Trains and evaluates one model.

    Args:
        cfg: `pal_plugin.config.run_config.Config`.
        task: made by `setup_task`.
        model: on any device; it is moved to `run.device`.
        datasets: `{dataset: {split: dataset}}` as `task.build_datasets` returns it.
        job_id: name of the run folder; None makes a unique one.
    """

    # ---- the run ----------------------------------------------------------------------------

    def train(self) -> dict[str, dict]:
        """The whole run. Returns the metrics by split, which `metrics.json` holds too.

        Raises:
            Preempted: it was told to stop; its state is saved.
        """
        started = time.time()
        if self.evaluate_only:
            return self.evaluate()
        self._introduce()
        self.trained_model  # noqa: B018 - on its device, and shared, also where no step is left
        with self.stop.listening():
            self._restore()
            for epoch in range(self.progress.epoch, self.max_epoch):
                if epoch > self.progress.epoch:
                    self.progress.begin_epoch(epoch)
                if self.progress.step < self.steps_per_epoch:
                    stats = self.train_epoch(epoch)
                    self.log_stats({"epoch": epoch, **stats}, "train")
                    self.save_state()
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
        if self._shards:
            self.trained_model  # noqa: B018
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
        """An epoch, or the rest of it; the stream goes on where the last one ended."""
        if epoch != self.progress.epoch:
            self.progress.begin_epoch(epoch)
        return self.trainer.epoch(self.steps_per_epoch).summary()

    def eval_epoch(self, split_name: str, cur_epoch: str | int, skip_reload: bool = True) -> dict:
        """Evaluate one split and keep its metrics and predictions.

        Returns:
            what the task's `after_evaluation` returned: `agg_metrics` and the metrics by task.
        """
        log, rows, left_out = self._evaluate_split(split_name, cur_epoch)
        self._keep(split_name, log, rows, left_out)
        return log

    def _introduce(self) -> None:
        if not self.world.first:
            return
        logging.info("run folder: %s", self.output_dir)
        if self.world.size > 1:
            logging.info(
                "%d processes (%s), %d clips per step",
                self.world.size,
                self.config.run_cfg.parallel,
                int(self.config.run_cfg.batch_size_train) * self.accum_grad_iters * self.world.size,
            )
        if hasattr(self.model, "trainable_table"):
            logging.info("parameters by component\n%s", self.model.trainable_table())
        if len(self.train_datasets) > 1:
            weights = loaders.mixing_weights(
                self.train_datasets, self.config.run_cfg.train_dataset_ratios
            )
            logging.info("training data\n%s", report.mix_table(self.train_datasets, weights))

    def _check_stop(self) -> None:
        # Where layers are shards nobody may leave alone.
        told = self.world.gather_numbers([bool(self.stop)]) if self.sharded else [[self.stop]]
        if any(numbers[0] for numbers in told):
            raise Preempted

    # ---- evaluation -------------------------------------------------------------------------

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
                batches=tally.counted(self._evaluation_loader(dataset)),
                clips=clips_of(dataset),
                split=tally.name,
                precision=self.precision,
                device=self.device,
                answered=known,
                check=self._check_stop,
                shown=self.world.first,
            )
            if len(self.splits[split]) > 1:
                found = [{**row, "dataset": name} for row in found]
            counts = []
            missing: list[str] = []
            for rows, names, counted in self._everybodys(dataset, (found, missed, tally.counts)):
                parts.append(rows)
                missing += names
                counts.append(counted)
            left_out.extend(tally.left_out(missing, counts))
        if known is not None:
            known.close()
        rows = answered.merge_rows(parts)
        if not rows:
            raise ConfigError(
                f"the split {split!r} held nothing to evaluate: no clip, or no question of the "
                "chosen tasks"
            )
        log = None
        if self.world.first:
            log = self.task.after_evaluation(val_result=rows, split_name=split, epoch=epoch)
        log = self.world.from_first(log)
        if not isinstance(log, dict) or "agg_metrics" not in log:
            raise TypeError(
                f"{type(self.task).__name__}.after_evaluation must return a dict with "
                f"'agg_metrics', got {log!r}"
            )
        self.log_stats({"epoch": epoch, **log}, split)
        return log, rows, list(dict.fromkeys(left_out))

    def _everybodys(self, dataset: Any, mine: tuple) -> list[tuple]:
        """What each process found in its part; of what is not divided all found the same."""
        if self.sharded or not loaders.divisible(dataset):
            return [mine]
        rows, *rest = mine
        return self.world.gather((files.jsonable(rows) if self.world.size > 1 else rows, *rest))

    def _answered(self, split: str) -> answered.Answered | None:
        """Where the rows of an evaluation are kept; while training, weights change too soon."""
        if not self.evaluate_only:
            return None
        settings = provenance.settings(self.config.to_dict(), self._checkpoint_file())
        mine = "" if self.world.first else f".rank{self.world.rank}"
        names = (f"{split}{answered.SUFFIX}", f"{split}.rank*{answered.SUFFIX}")
        others = [path for name in names for path in self.result_dir.glob(name)]
        self.world.wait()  # before anybody writes, everybody knows what is there
        path = self.result_dir / f"{split}{mine}{answered.SUFFIX}"
        return answered.Answered(path, settings, others)

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
            self.best_metric = metric if math.isfinite(metric) else -math.inf
            self.best_epoch = epoch
            self._save_checkpoint(epoch, is_best=True, metrics={split: _entries(log)})
        logging.log(
            logging.INFO if self.world.first else logging.DEBUG,
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
        if not self.world.first:
            return
        files.write_jsonl(self.result_dir / f"{split}.jsonl", rows)
        files.write_json(self.output_dir / "metrics.json", self.metrics)
        sizes = [clips_of(dataset) for dataset in self.splits[split].values()]
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
        files.write_json(self.output_dir / "evaluation.json", self.evaluation)
        write_page(self.output_dir / f"samples.{split}.html", rows, f"{self.job_id}: {split}")

    def _finish(self, started: float) -> dict[str, dict]:
        self.world.wait()
        if not self.world.first:
            return self.metrics
        for partial in self.result_dir.glob(f"*{answered.SUFFIX}"):
            partial.unlink()  # result/SPLIT.jsonl has these rows
        logging.info("\n%s", report.table(self.metrics))
        if not self.evaluate_only:
            logging.info("best checkpoint (epoch %s): %s", self.best_epoch, self.output_dir / BEST)
        facts: dict[str, Any] = {"evaluated": list(self.metrics)}
        if not self.evaluate_only:
            facts |= {"epochs": self.max_epoch, "steps": self.progress.global_step}
            facts |= {"clips": self.progress.clips, "order": self.progress.order}
        files.write_json(self.output_dir / FINISHED, facts)
        self.watch.close()
        self.lock.release()
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
        weights = checkpoint.trained_state(self.model) if self.sharded else None
        if self.world.first:
            with files.staged(path) as staging:
                self._save_model(staging, cur_epoch, weights, files.jsonable(metrics or {}))
        self.world.wait()
        return path

    def _reload_best_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """The best checkpoint if it is not what the model holds already."""
        if (self.output_dir / BEST).is_file() and self.best_epoch != self.max_epoch - 1:
            model.load_checkpoint(str(self.output_dir / BEST))
        return model

    def log_stats(self, stats: dict, split_name: str) -> None:
        """One JSON line in `log.txt`, and what else is watched."""
        if self.world.first:
            self.watch.log(split_name, stats, self.progress.global_step)

    def log_config(self) -> None:
        """`config.yaml` is written with the folder, and `log.txt` holds JSON lines only."""


def _entries(log: dict) -> dict:
    """The task's entries of a log, without the bookkeeping beside them."""
    return {key: value for key, value in log.items() if isinstance(value, dict)}
