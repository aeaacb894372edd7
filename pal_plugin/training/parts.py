"""What a run is made of: its folder, device, model, optimizer, schedule and loaders.

The half of LAVIS's runner that builds things; `runner_pal` is the half that runs them. Everything
is built when it is first asked for, as in LAVIS.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lavis.common.registry import registry
from lavis.runners.runner_base import RunnerBase

from pal_plugin.evaluation import loop
from pal_plugin.training import checkpointing as checkpoints
from pal_plugin.training import distributed, loaders, optimizers, parallel
from pal_plugin.training.lock import RunLock
from pal_plugin.training.metric_logger import Watch
from pal_plugin.training.preemption import StopRequest
from pal_plugin.training.progress import Progress
from pal_plugin.training.rundir import interrupted_evaluation, new_run_dir
from pal_plugin.training.schedule import WarmupCosine
from pal_plugin.training.trainer import Trainer
from pal_plugin.utils.errors import ConfigError


class RunnerParts(RunnerBase):
    """LAVIS's runner with the traps of its properties removed; see `RunnerPal` for arguments."""

    def __init__(self, cfg: Any, task: Any, model: Any, datasets: dict, job_id: str | None = None):
        self.splits = _by_split(datasets)
        self.config, self.world = cfg, distributed.current()
        self.stop = StopRequest()
        self.resumed: tuple[Path, dict] | None = None
        self.lock: RunLock | None = None
        self._require_splits()  # before a run folder is made
        super().__init__(cfg, task, model, datasets, job_id)

    # ---- where things are -------------------------------------------------------------------

    def setup_output_dir(self) -> None:
        """A unique folder under the working directory, with `config.yaml` in it.

        A run that goes on does so in its own. The first process makes it and tells the others.
        """
        folder = self.world.from_first(self._make_output_dir() if self.world.first else None)
        self.output_dir, self.job_id = folder, folder.name
        self.result_dir = self.output_dir / "result"
        self.result_dir.mkdir(exist_ok=True)
        # register_path refuses a second runner in one process, so the map is written directly.
        registry.mapping["paths"]["output_dir"] = str(self.output_dir)
        registry.mapping["paths"]["result_dir"] = str(self.result_dir)
        # One process at a time, and one decision for all.
        if self.world.first:
            self.lock = RunLock(self.output_dir)
            if self.config.run_cfg.resume:
                self.resumed = checkpoints.recover(self.output_dir)
        self.resumed = self.world.from_first(self.resumed)

    def _make_output_dir(self) -> Path:
        run = self.config.run_cfg
        before = None
        if run.evaluate:
            before = interrupted_evaluation(run.output_dir, self.job_id, run.name)
        if run.resume and self.job_id:  # the folder that `resuming.find_run` found
            before = Path(run.output_dir).expanduser().resolve() / self.job_id
            before = before if (before / "config.yaml").is_file() else None
        folder = before or new_run_dir(run.output_dir, run.name, self.job_id)
        if before is None or run.evaluate:
            self.config.save(folder / "config.yaml")
        return folder

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
            if self._device.type == "cuda" and self.world.size > 1:
                self._device = torch.device("cuda", self.world.local_rank)
        return self._device

    @property
    def use_distributed(self) -> bool:
        return self.world.size > 1

    @property
    def model(self) -> torch.nn.Module:
        """The model on `run.device`, with the weights that a resumed run had."""
        if self._wrapped_model is None:
            # What is to be sharded may not fit there as a whole.
            self._wrapped_model = self._model if self._shards else self._model.to(self.device)
            if self.resumed is not None:
                self._wrapped_model.load_checkpoint(str(self.resumed[0] / checkpoints.MODEL))
        return self._wrapped_model

    @cached_property
    def trained_model(self) -> torch.nn.Module:
        """What training steps call: the model, or what shares it between processes."""
        run, model = self.config.run_cfg, self.model
        if run.activation_checkpointing:
            model.checkpoint_activations()
        if self._shards and self.scaler.is_enabled():
            raise ConfigError("run.parallel=fsdp does not go with run.amp=fp16; use bf16")
        shared = parallel.parallelise(
            model,
            self.world,
            run.parallel,
            find_unused=bool(run.find_unused_parameters),
            dtype=self.precision.dtype,
            device=self.device,
        )
        if run.compile:
            getattr(model, "decoder", model).compile(dynamic=True)
        return shared

    @property
    def train_splits(self) -> list[str]:
        return list(self.config.run_cfg.train_splits or [])

    @property
    def valid_splits(self) -> list[str]:
        """Evaluated after each epoch; the first one selects the best."""
        return list(self.config.run_cfg.valid_splits or [])

    @property
    def test_splits(self) -> list[str]:
        return list(self.config.run_cfg.test_splits or [])

    # ---- what trains ------------------------------------------------------------------------

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """`optimizers.build`, with the states that a resumed run had."""
        if self._optimizer is None:
            self.trained_model  # noqa: B018 - parameters may become shards
            self._optimizer = optimizers.build(
                self.model, self.config.run_cfg, self.init_lr, self.device
            )
            if self.resumed is not None:
                checkpoints.restore_optimizer(self._optimizer, self.model, self.resumed[0])
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
            schedule = registry.get_lr_scheduler_class(run.lr_sched)
            scaled = any(g.get("lr_scale", 1.0) != 1.0 for g in self.optimizer.param_groups)
            if scaled and not issubclass(schedule, WarmupCosine):
                raise ConfigError(
                    f"run.lr_sched={run.lr_sched} sets one rate for all; with run.lr_scale use "
                    "pal_warmup_cosine, pal_warmup_linear or pal_warmup_constant"
                )
            self._lr_sched = schedule(
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
        clips = int(run.batch_size_train) * self.accum_grad_iters * self.world.size
        return loaders.steps_per_epoch(self.train_datasets, clips, run.steps_per_epoch)

    @cached_property
    def progress(self) -> Progress:
        """Where training stands."""
        if self.resumed is None:
            return Progress()
        state = self.resumed[1]
        progress = Progress.from_json(state["progress"])
        if self.config.run_cfg.steps_per_epoch is None:
            # An epoch is a pass over the clips: the same share of it is done.
            micros = self.accum_grad_iters * self.world.size
            progress.step = progress.step * state["micros_per_step"] // micros
            if progress.step * micros >= state["steps_per_epoch"] * state["micros_per_step"]:
                progress.step = self.steps_per_epoch
        if not self.world.first:  # the names of skipped clips are the first process's
            progress.stats.skipped = []
        return progress

    @cached_property
    def lanes(self) -> int:
        """`run.lanes`; a run that goes on keeps its number."""
        run = self.config.run_cfg
        asked = None if run.lanes is None else int(run.lanes)
        if asked is not None and asked < 1:
            raise ConfigError(f"run.lanes is {asked}; expected 1 or more, or null")
        if self.resumed is None:
            return asked or max(1, int(run.num_workers))
        kept = self.resumed[1]["lanes"]
        if asked not in (None, kept):
            raise ConfigError(f"run.lanes is {asked}, and this run reads its data in {kept}")
        return kept

    @cached_property
    def train_loader(self) -> Any:
        run = self.config.run_cfg
        workers = int(run.num_workers)
        if self.world.first:
            loaders.warn_of_shared_lanes(self.lanes, workers, self.world.size)
            loaders.warn_of_few_shards(self.train_datasets, self.lanes)
        return loaders.training_loader(
            self.train_datasets,
            loaders.mixing_weights(self.train_datasets, run.train_dataset_ratios),
            batch_size=int(run.batch_size_train),
            num_workers=workers,
            lanes=self.lanes,
            pool=int(run.length_pool),
            seed=int(run.seed),
            pin_memory=self.cuda_enabled,
            world=self.world,
            first=self.progress.micros,
            positions=self.progress.positions,
        )

    def _count(self, key: str, default: int | None) -> int | None:
        value = self.config.run_cfg[key]
        if value is None:
            return default
        if int(value) < 1:
            raise ConfigError(f"run.{key} is {value}; expected 1 or more")
        return int(value)

    @cached_property
    def watch(self) -> Watch | None:
        """Where figures go, in the process that writes."""
        if not self.world.first:
            return None
        run = self.config.run_cfg
        board = False if self.evaluate_only else run.tensorboard
        step = self.progress.global_step
        return Watch(self.output_dir, board, run.wandb, self.config.to_dict(), step)

    @cached_property
    def trainer(self) -> Trainer:
        """Takes the optimizer steps."""
        run = self.config.run_cfg
        return Trainer(
            task=self.task,
            model=self.trained_model,
            plain=self.model,
            batches=iter(self.train_loader),
            optimizer=self.optimizer,
            schedule=self.lr_scheduler,
            precision=self.precision,
            device=self.device,
            world=self.world,
            accumulate=self.accum_grad_iters,
            grad_clip=None if run.grad_clip is None else float(run.grad_clip),
            seed=int(run.seed),
            on_nonfinite=run.on_nonfinite,
            on_out_of_memory=run.on_out_of_memory,
            log_freq=self.log_freq,
            save_every=self._count("save_every", None),
            stop=lambda: bool(self.stop),
            report=lambda line: self.log_stats(line, "train_step"),
            report_fault=self.report_fault,
            save=self.save_state,
            progress=self.progress,
        )

    @property
    def dataloaders(self) -> dict[str, Any]:
        """All loaders: the training mixture under "train", one per dataset for other splits."""
        held_out = {
            split: {
                name: self._evaluation_loader(dataset)
                for name, dataset in self.splits[split].items()
            }
            for split in self._evaluated_splits()
        }
        return held_out if self.evaluate_only else {"train": self.train_loader, **held_out}

    def _evaluation_loader(self, dataset: Any) -> Any:
        run = self.config.run_cfg
        return loaders.evaluation_loader(
            dataset,
            int(run.batch_size_eval),
            int(run.num_workers),
            seed=int(run.seed),
            pin_memory=self.cuda_enabled,
            # Where layers are shards, everybody must ask the same questions.
            world=distributed.ALONE if self.sharded else self.world,
        )

    @property
    def _shards(self) -> bool:
        return self.world.size > 1 and self.config.run_cfg.parallel == "fsdp"

    @property
    def sharded(self) -> bool:
        """Whether the model's layers are spread over the processes."""
        return self.world.size > 1 and parallel.is_sharded(self.model)

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
