"""What a run is made of: its folder, device, model, optimizer, schedule and loaders.

The half of LAVIS's runner that builds things; `runner_pal` is the half that runs them. Everything
is built when it is first asked for, as in LAVIS.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from lavis.common.registry import registry
from lavis.runners.runner_base import RunnerBase

from pal_plugin.errors import ConfigError
from pal_plugin.runners import loaders, loop
from pal_plugin.runners.rundir import interrupted_evaluation, new_run_dir


class RunnerParts(RunnerBase):
    """LAVIS's runner with the traps of its properties removed; see `RunnerPal` for arguments."""

    def __init__(self, cfg: Any, task: Any, model: Any, datasets: dict, job_id: str | None = None):
        self.splits = _by_split(datasets)
        self._train_batches: Iterator | None = None
        self.config = cfg
        self._require_splits()  # before a run folder is made
        super().__init__(cfg, task, model, datasets, job_id)

    # ---- where things are -------------------------------------------------------------------

    def setup_output_dir(self) -> None:
        """A unique folder under the working directory, with `config.yaml` in it.

        An evaluation that was interrupted goes on in its own.
        """
        run = self.config.run_cfg
        before = interrupted_evaluation(run.output_dir, self.job_id) if run.evaluate else None
        self.output_dir = before or new_run_dir(run.output_dir, run.name, self.job_id)
        self.job_id = self.output_dir.name
        self.result_dir = self.output_dir / "result"
        self.result_dir.mkdir(exist_ok=True)
        # register_path refuses a second runner in one process, so the map is written directly.
        registry.mapping["paths"]["output_dir"] = str(self.output_dir)
        registry.mapping["paths"]["result_dir"] = str(self.result_dir)
        if before is None:
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
            length_pool=int(run.length_pool),
        )

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
