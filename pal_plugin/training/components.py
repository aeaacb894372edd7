"""Components of a run: device, model, optimizer, schedule and data, built in order of need."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pal_plugin.config.registry import SCHEDULES
from pal_plugin.config.run_config import RunConfig
from pal_plugin.training import checkpointing, loaders, optimizers, parallel
from pal_plugin.training.distributed import World
from pal_plugin.training.progress import Progress
from pal_plugin.training.run_time import RunTime
from pal_plugin.training.schedule import WarmupCosine
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.precision import Precision

#: Audio tokens of a batch are padded to a multiple of this where the LLM is compiled.
COMPILED_COLUMNS = 64
#: The checkpoint that a run resumes from, and its state.
Resumed = tuple[Path, dict[str, Any]] | None


class ModelOnDevice:
    """The model on its device, with the checkpoint's weights if the run resumes.

    Args:
        cfg: the run's configuration.
        model: on any device.
        world: the run's processes.
        resumed: the checkpoint to resume from.

    Attributes:
        shards: whether the run uses FSDP.

    Raises:
        ConfigError: an unknown device, or a precision that the device or strategy cannot use.
    """

    def __init__(
        self, cfg: RunConfig, model: torch.nn.Module, world: World, resumed: Resumed = None
    ) -> None:
        self._run, self._world = cfg.run_cfg, world
        self.device = device_of(cfg.device_name, world)
        self.precision = Precision(self._run.amp, self.device)
        self.shards = world.size > 1 and self._run.parallel == "fsdp"
        if self.shards and self.precision.scaler.is_enabled():
            raise ConfigError("run.parallel=fsdp does not support run.amp=fp16; use bf16")
        # A model to be sharded may not fit on one device.
        self.model = model if self.shards else model.to(self.device)
        if resumed is not None:
            self.model.load_checkpoint(str(resumed[0] / checkpointing.MODEL))

    @cached_property
    def shared(self) -> torch.nn.Module:
        """The module that training steps call: the model, or its DDP or FSDP wrapper."""
        run, model = self._run, self.model
        if run.activation_checkpointing:
            model.checkpoint_activations()
        shared = parallel.parallelise(
            model,
            self._world,
            run.parallel,
            find_unused=bool(run.find_unused_parameters),
            dtype=self.precision.dtype,
            device=self.device,
        )
        if run.compile:
            model.columns_in = COMPILED_COLUMNS
            getattr(model, "decoder", model).compile(dynamic=True)
        return shared

    @property
    def sharded(self) -> bool:
        """Whether the model's layers are sharded over the processes already."""
        return self._world.size > 1 and parallel.is_sharded(self.model)


class Training:
    """What only training needs: optimizer, schedule and the training loader.

    Args:
        cfg: the run's configuration.
        place: the model on its device.
        datasets: of the train splits, by name.
        world: the run's processes.
        resumed: the checkpoint to resume from.

    Attributes:
        model: the module that steps call.
        micros: micro-batches per step, over all processes.
        streams: number of shard streams (`run.shard_streams`).
        progress: epoch, step and data positions.
        run_time: training time so far, and its limit.

    Raises:
        ConfigError: nothing is trainable, or settings that contradict each other or the checkpoint.
    """

    def __init__(
        self,
        cfg: RunConfig,
        place: ModelOnDevice,
        datasets: dict[str, Any],
        world: World,
        resumed: Resumed = None,
    ) -> None:
        self._run, self._world, self._resumed = cfg.run_cfg, world, resumed
        self._device, self.datasets = place.device, datasets
        run = self._run
        limit_s = None if run.max_minutes is None else 60 * float(run.max_minutes)
        self.run_time = RunTime(limit_s, resumed[1].get("seconds", 0.0) if resumed else 0.0)
        self.micros = int(run.accum_grad_iters) * world.size
        clips = int(run.batch_size_train) * self.micros
        self.steps_per_epoch = loaders.steps_per_epoch(datasets, clips, run.steps_per_epoch)
        self.weights = loaders.mixing_weights(datasets, run.train_dataset_ratios)
        self.streams = self._streams()
        self.progress = self._progress()
        self.model = place.shared  # before the optimizer: FSDP replaces parameters by shards
        rate = float(run.init_lr)
        self.optimizer = optimizers.build(place.model, run, rate, place.device)
        if resumed is not None:
            checkpointing.restore_optimizer(self.optimizer, place.model, resumed[0])
        self.schedule = self._schedule()

    def batches(self, prepare: Any = None) -> Any:
        """The DataLoader of this process's micro-batches; `prepare` as in `training_loader`."""
        run, workers = self._run, int(self._run.num_workers)
        if self._world.first:
            loaders.warn_of_shared_streams(self.streams, workers, self._world.size)
            loaders.warn_of_few_shards(self.datasets, self.streams)
        return loaders.training_loader(
            self.datasets,
            self.weights,
            batch_size=int(run.batch_size_train),
            num_workers=workers,
            streams=self.streams,
            pool=int(run.length_pool),
            seed=int(run.seed),
            pin_memory=self._device.type == "cuda",
            world=self._world,
            first=self.progress.micros,
            positions=self.progress.positions,
            prepare=prepare,
        )

    def _streams(self) -> int:
        """`run.shard_streams`; a resumed run keeps the checkpoint's number."""
        asked = None if self._run.shard_streams is None else int(self._run.shard_streams)
        if self._resumed is None:
            return asked or max(1, int(self._run.num_workers))
        path, state = self._resumed
        kept = state["shard_streams"] if "shard_streams" in state else state["lanes"]  # old name
        if asked not in (None, kept):
            raise ConfigError(
                f"run.shard_streams is {asked}, but {path} was trained with {kept}; set "
                f"run.shard_streams={kept} or leave it out"
            )
        return kept

    def _progress(self) -> Progress:
        if self._resumed is None:
            return Progress()
        state = self._resumed[1]
        progress = Progress.from_json(state["progress"])
        if self._run.steps_per_epoch is None:
            # An epoch is one pass over the clips: convert the step to the new step size.
            progress.step = progress.step * state["micros_per_step"] // self.micros
            if progress.step * self.micros >= state["steps_per_epoch"] * state["micros_per_step"]:
                progress.step = self.steps_per_epoch
        if not self._world.first:  # rank 0 keeps the names of skipped clips
            progress.stats.skipped = []
        return progress

    def _schedule(self) -> Any:
        run = self._run
        schedule = SCHEDULES.get(run.lr_sched)
        refused = {
            "sets one learning rate for all parameter groups; with run.lr_scale": (
                optimizers.has_group_rates(self.optimizer)
            ),
            "does not follow time; with run.max_minutes": run.max_minutes is not None,
        }
        for why, wanted in refused.items():
            if wanted and not issubclass(schedule, WarmupCosine):
                raise ConfigError(
                    f"run.lr_sched={run.lr_sched} {why} use pal_warmup_cosine, pal_warmup_linear "
                    "or pal_warmup_constant"
                )
        return schedule(
            optimizer=self.optimizer,
            max_epoch=int(run.max_epoch),
            steps_per_epoch=self.steps_per_epoch,
            init_lr=float(run.init_lr),
            min_lr=float(run.min_lr),
            warmup_start_lr=float(run.warmup_lr),
            warmup_steps=int(run.warmup_steps),
            decay_rate=run.lr_decay_rate,
        )


def train_datasets(cfg: RunConfig, splits: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Training datasets by name; `NAME.SPLIT` where there are several train splits."""
    return {
        name if len(cfg.train_splits) == 1 else f"{name}.{split}": dataset
        for split in cfg.train_splits
        for name, dataset in splits[split].items()
    }


def device_of(name: str, world: World) -> torch.device:
    """The device of this process: `cuda:LOCAL_RANK` where several processes train on GPUs.

    Raises:
        ConfigError: torch does not know the name.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"run.device is {name!r}: {str(error).splitlines()[0]}") from None
    if device.type == "cuda" and world.size > 1:
        return torch.device("cuda", world.local_rank)
    return device
