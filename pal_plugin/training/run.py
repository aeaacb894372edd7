"""A run: train, validate after each epoch, keep the best, test with it. Or evaluate only.

`Trainer` takes the steps, `SplitEvaluator` evaluates, `RunState` saves and resumes. Any task with
`train_step` and `valid_step` fits; the model needs `save_checkpoint(path, **meta)` and
`load_checkpoint(path)`. All ranks run the same code; rank 0 writes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pal_plugin.config.run_config import RunConfig
from pal_plugin.config.trained import BEST, FINISHED
from pal_plugin.evaluation.splits import METRICS, Outcome, SplitEvaluator, by_split
from pal_plugin.training import caching, curves, distributed, report
from pal_plugin.training.components import ModelOnDevice, Training, train_datasets
from pal_plugin.training.metric_logger import MetricLogger, check_boards
from pal_plugin.training.preemption import StopRequest
from pal_plugin.training.run_folder import folder_before, new_folder
from pal_plugin.training.run_report import write_report
from pal_plugin.training.state import Best, RunState
from pal_plugin.training.trainer import Trainer
from pal_plugin.utils import files
from pal_plugin.utils.errors import Interrupted, Preempted
from pal_plugin.utils.locations import resolve


class Run:
    """Trains and evaluates one model.

    Args:
        cfg: from `load_config`.
        task: such as `InstructTask`.
        model: on any device; it is moved to `run.device`.
        datasets: `{dataset: {split: dataset}}` from `task.build_datasets`.
        job_id: name of the run folder; None: a unique one.

    Raises:
        ConfigError: a device, split or folder that cannot be used.
    """

    def __init__(
        self,
        cfg: RunConfig,
        task: Any,
        model: torch.nn.Module,
        datasets: dict[str, dict[str, Any]],
        job_id: str | None = None,
    ) -> None:
        self.cfg, self.task, self.world = cfg, task, distributed.current()
        self.splits = by_split(cfg, datasets)  # checked before a run folder is made
        self.stop, self.best = StopRequest(), Best()
        before = folder_before(cfg, self.world, job_id)
        self._resumed = None if before is None else before.resumed
        self.place = ModelOnDevice(cfg, model, self.world, self._resumed)
        caching.open_caches(
            self.place.model,
            {f"{name} {split}": d for split, of in self.splits.items() for name, d in of.items()},
            self.place.precision,
            self.place.device,
            verbose=self.world.first,
        )
        if not cfg.run_cfg.evaluate:
            check_boards(cfg.run_cfg.tensorboard, cfg.run_cfg.wandb)
            self.training  # noqa: B018 - built first, so that an error leaves no run folder
        self.folder = before or new_folder(cfg, self.world, job_id)
        weights = self.folder.path / BEST
        if cfg.run_cfg.evaluate:
            location = cfg.model_cfg.get("checkpoint")
            weights = Path(resolve(location)) if location else None
        self.evaluator = SplitEvaluator(
            cfg, task, self.splits, self.folder.path, self.world, weights, self._check_stop
        )

    @cached_property
    def training(self) -> Training:
        """Optimizer, schedule and training data; not built for an evaluation."""
        datasets = train_datasets(self.cfg, self.splits)
        return Training(self.cfg, self.place, datasets, self.world, self._resumed)

    @cached_property
    def logger(self) -> MetricLogger | None:
        """The metric logger; None on ranks other than 0."""
        if not self.world.first:
            return None
        run = self.cfg.run_cfg
        board = False if run.evaluate else run.tensorboard
        config, path = self.cfg.to_dict(), self.folder.path
        return MetricLogger(path, board, run.wandb, config, self._global_step())

    @cached_property
    def state(self) -> RunState:
        """Saves and resumes the run."""
        return RunState(
            self.cfg,
            self.folder,
            self.world,
            self.place,
            self.training,
            self.evaluator,
            self.best,
            self.logger,
        )

    @cached_property
    def trainer(self) -> Trainer:
        """The training loop."""
        run, training, model = self.cfg.run_cfg, self.training, self.place.model
        return Trainer(
            task=self.task,
            model=training.model,
            plain=model,
            batches=iter(training.batches(getattr(model, "prepare_batch", None))),
            optimizer=training.optimizer,
            schedule=training.schedule,
            precision=self.place.precision,
            device=self.place.device,
            world=self.world,
            accumulate=int(run.accum_grad_iters),
            grad_clip=None if run.grad_clip is None else float(run.grad_clip),
            seed=int(run.seed),
            on_nonfinite=run.on_nonfinite,
            on_out_of_memory=run.on_out_of_memory,
            log_freq=int(run.log_freq),
            save_every=None if run.save_every is None else int(run.save_every),
            stop=lambda: bool(self.stop),
            report=lambda line: self.log(line, "train_step"),
            report_fault=self.state.report_fault,
            save=self.state.save,
            progress=training.progress,
            run_time=training.run_time,
            epochs=int(run.max_epoch),
        )

    def train(self) -> dict[str, dict]:
        """Train and evaluate. Returns the metrics by split, as in `metrics.json`.

        Raises:
            Preempted: stopped by a signal; its state is saved.
        """
        with self._stopped_here():
            return self._train()

    def _train(self) -> dict[str, dict]:
        started = time.time()
        cfg, training, state, best = self.cfg, self.training, self.state, self.best
        self._introduce()
        with self.folder.held(), self.stop.listening():
            state.restore()
            if not int(cfg.run_cfg.max_epoch):
                logging.warning("run.max_epoch is 0: evaluating the untrained model")
                for split in cfg.evaluated_splits:
                    self.evaluate_split(split, "untrained")
                return self._finish(started)
            for epoch in range(training.progress.epoch, int(cfg.run_cfg.max_epoch)):
                if epoch > training.progress.epoch:
                    if self._time_is_up():  # during the last validation
                        break
                    training.progress.begin_epoch(epoch)
                unfinished = training.progress.step < training.steps_per_epoch
                if unfinished and not training.run_time.is_over:  # a resumed epoch may be complete
                    stats = self.train_epoch(epoch)
                    self.log({"epoch": epoch, **stats}, "train")
                    state.save()
                state.save_weights(epoch)
                for split in cfg.valid_splits:
                    self._validate(split, epoch)
                if not cfg.valid_splits:
                    state.save_weights(epoch, best=True)
                    best.epoch = epoch
            self.load_best()
            for split in cfg.test_splits:
                if split not in cfg.valid_splits:  # those have the best epoch's metrics already
                    self.evaluate_split(split, "best")
            return self._finish(started)

    def evaluate(self, epoch: str | int = "best") -> dict[str, dict]:
        """Evaluate the model on every valid and test split, without training.

        Args:
            epoch: name of the model's state in the log.

        Returns:
            The metrics by split.
        """
        with self._stopped_here():
            return self._evaluate(epoch)

    @contextmanager
    def _stopped_here(self) -> Iterator[None]:
        """Attach the run folder to an interruption, so that the message can say how to resume."""
        try:
            yield
        except KeyboardInterrupt as stop:
            raise Interrupted(self.folder.path) from stop
        except Preempted as stop:
            raise Preempted(self.folder.path) from stop

    def _evaluate(self, epoch: str | int) -> dict[str, dict]:
        started = time.time()
        if self.place.shards:
            self.place.model = self.place.shared
        if self.cfg.run_cfg.evaluate:
            logging.info(
                "run folder: %s (if interrupted, resume with the same command and --job-id %s)",
                self.folder.path,
                self.folder.path.name,
            )
        with self.folder.held():
            for split in self.cfg.evaluated_splits:
                self.evaluate_split(split, epoch)
            return self._finish(started)

    def train_epoch(self, epoch: int) -> dict[str, Any]:
        """Train an epoch, or the rest of a resumed one. Returns the epoch's statistics."""
        if epoch != self.training.progress.epoch:
            self.training.progress.begin_epoch(epoch)
        with caching.storing(self.place.model):
            return self.trainer.epoch(self.training.steps_per_epoch).summary()

    def evaluate_split(self, split: str, epoch: str | int) -> dict:
        """Evaluate one split and write its metrics and predictions.

        Args:
            split: its name.
            epoch: name of the model's state in the log.

        Returns:
            `agg_metrics` and the metrics by task, from the task's `after_evaluation`.
        """
        outcome = self._evaluated(split, epoch)
        self._keep(split, outcome)
        return outcome.log

    def load_best(self) -> None:
        """Load the best checkpoint, unless the model holds it already."""
        path = self.folder.path / BEST
        if path.is_file() and self.best.epoch != self.training.progress.epoch:
            self.place.model.load_checkpoint(str(path))

    def log(self, figures: dict, kind: str) -> None:
        """Log metrics on rank 0; arguments as in `MetricLogger.log`."""
        if self.world.first:
            self.logger.log(kind, figures, self._global_step())

    def _introduce(self) -> None:
        if not self.world.first:
            return
        run, training = self.cfg.run_cfg, self.training
        logging.info("run folder: %s", self.folder.path)
        if self.world.size > 1:
            clips = int(run.batch_size_train) * training.micros
            message = "%d processes (%s), %d clips per step"
            logging.info(message, self.world.size, run.parallel, clips)
        if hasattr(self.place.model, "trainable_table"):
            logging.info("parameters by component\n%s", self.place.model.trainable_table())
        if len(training.datasets) > 1:
            table = report.mix_table(training.datasets, training.weights)
            logging.info("training data\n%s", table)
        limit = "" if run.max_minutes is None else f", or {float(run.max_minutes):g} minutes"
        message = "training for %d epochs of %d steps%s; the first step is slower"
        logging.info(message, int(run.max_epoch), training.steps_per_epoch, limit)

    def _time_is_up(self) -> bool:
        """Whether `run.max_minutes` have passed, by rank 0's clock."""
        run_time = self.training.run_time
        if run_time.limit_s is not None:
            run_time.seconds = self.world.from_first(run_time.now())
        return run_time.is_over

    def _check_stop(self) -> None:
        # Under FSDP all ranks must stop together.
        stop = [bool(self.stop)]
        stops = self.world.gather_numbers(stop) if self.place.sharded else [stop]
        if any(numbers[0] for numbers in stops):
            raise Preempted

    def _evaluated(self, split: str, epoch: str | int) -> Outcome:
        place = self.place
        with caching.storing(place.model, self.world if place.sharded else distributed.ALONE):
            outcome = self.evaluator.evaluate(
                split, epoch, place.model, place.precision, place.device, sharded=place.sharded
            )
        self.log({"epoch": epoch, **outcome.log}, split)
        return outcome

    def _validate(self, split: str, epoch: int) -> None:
        outcome, best = self._evaluated(split, epoch), self.best
        metric = float(outcome.log["agg_metrics"])
        if split == self.cfg.valid_splits[0] and best.improved(epoch, metric):
            score = {self.cfg.run_cfg.select_by: metric}
            metrics = {split: outcome.entries}
            self.state.save_weights(epoch, best=True, metrics=metrics, score=score)
        message = "epoch %d  %s %s %.4f (best %.4f in epoch %s)"
        select_by = self.cfg.run_cfg.select_by
        if self.world.first:
            logging.info(message, epoch, split, select_by, metric, best.metric, best.epoch)
        if best.epoch == epoch:  # metrics.json and result/ describe the best checkpoint
            self._keep(split, outcome)

    def _keep(self, split: str, outcome: Outcome) -> None:
        self.evaluator.keep(split, outcome, self.place.model, self.place.device)

    def _global_step(self) -> int:
        return 0 if self.cfg.run_cfg.evaluate else self.training.progress.global_step

    def _finish(self, started: float) -> dict[str, dict]:
        self.world.wait()
        metrics = self.evaluator.metrics
        if not self.world.first:
            return metrics
        self.evaluator.finish()
        if metrics:
            logging.info("\n%s", report.table(metrics))
        if self.cfg.run_cfg.pictures and (pictures := curves.pictures(self.folder.path)):
            logging.info("pictures: %s", ", ".join(map(str, pictures)))
        facts: dict[str, Any] = {"evaluated": list(metrics), **self._cost(started)}
        if not self.cfg.run_cfg.evaluate:
            now = self.training.progress
            if self.best.epoch is not None:
                message = "best checkpoint (epoch %s): %s"
                logging.info(message, self.best.epoch, self.folder.path / BEST)
            facts |= {"epochs": int(self.cfg.run_cfg.max_epoch), "steps": now.global_step}
            facts |= {"clips": now.clips, "order": now.order}
            if self.training.run_time.is_over:
                facts |= {"epochs": now.epoch + 1, "ended by": "run.max_minutes"}
        files.write_json(self.folder.path / FINISHED, facts)
        self.logger.close()
        minutes, seconds = divmod(int(time.time() - started), 60)
        result = f"metrics: {self.folder.path / METRICS}" if metrics else "nothing was evaluated"
        logging.info("%s  (%d min %02d s)", result, minutes, seconds)
        if self.cfg.run_cfg.pictures and (page := write_report(self.folder.path, metrics)):
            logging.info("report: %s", page)
        return metrics

    def _cost(self, started: float) -> dict[str, Any]:
        """Parameters, device, processes, and seconds, of a training from its first start."""
        seconds = time.time() - started
        if not self.cfg.run_cfg.evaluate:
            seconds = self.training.run_time.now()
        counts = [(p.numel(), p.requires_grad) for p in self.place.model.parameters()]
        trainable = sum(count for count, trained in counts if trained)
        return {
            "parameters": {"trainable": trainable, "total": sum(count for count, _ in counts)},
            "device": str(self.place.device),
            "processes": self.world.size,
            "seconds": round(seconds, 1),
        }
