"""Metric logging: JSON lines always, TensorBoard and Weights & Biases on request.

`log.txt` holds one JSON object per line; everything else can be derived from it.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import jsonable

LOG = "log.txt"


class MetricLogger:
    """Writes a run's metrics to `log.txt`, TensorBoard and Weights & Biases.

    Args:
        run_dir: the run folder.
        tensorboard: True, False, or "auto": if the package is installed.
        wandb: name of a Weights & Biases project, None to disable.
        config: the run's configuration, for Weights & Biases.
        step: global step after which the run resumes; later TensorBoard events are purged.

    Raises:
        ConfigError: a requested package is not installed.
    """

    def __init__(
        self,
        run_dir: Path,
        tensorboard: bool | str = "auto",
        wandb: str | None = None,
        config: dict | None = None,
        step: int = 0,
    ) -> None:
        self.path = run_dir / LOG
        self._board, self._wandb = None, None
        if _wanted("run.tensorboard", tensorboard, "tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            folder = str(run_dir / "tensorboard")
            self._board = SummaryWriter(folder, purge_step=step + 1 if step else None)
        if _wanted("run.wandb", wandb or False, "wandb"):
            import wandb as service

            self._wandb = service.init(
                project=wandb,
                name=run_dir.name,
                id=run_dir.name,
                dir=run_dir,
                config=config,
                resume="allow",
            )
            self._wandb.define_metric("*", step_metric="global_step")

    def log(self, kind: str, figures: dict[str, Any], step: int | None = None) -> None:
        """Log metrics; tensors and arrays become numbers, nested names are joined by dots.

        Args:
            kind: "train_step", "train", or a split.
            figures: the metrics.
            step: global step; None: `log.txt` only.
        """
        plain = jsonable(figures)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **plain}) + "\n")
        if step is None:
            return
        numbers = {f"{kind}/{name}": value for name, value in _numbers(plain)}
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            # wandb's own step never decreases, but that of a resumed run does.
            self._wandb.log({**numbers, "global_step": step})

    def size(self) -> int:
        """Size of `log.txt` in bytes, after an fsync."""
        if not self.path.is_file():
            return 0
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        return self.path.stat().st_size

    def cut(self, size: int) -> None:
        """Truncate `log.txt` to the size in bytes it had at the checkpoint resumed from."""
        if self.path.is_file() and self.path.stat().st_size > size:
            os.truncate(self.path, size)

    def close(self) -> None:
        """Close TensorBoard and Weights & Biases."""
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def check_boards(tensorboard: bool | str, wandb: str | None) -> None:
    """Raise ConfigError for a requested logger that is not installed."""
    _wanted("run.tensorboard", tensorboard, "tensorboard")
    _wanted("run.wandb", wandb or False, "wandb")


def _wanted(key: str, value: Any, package: str) -> bool:
    there = importlib.util.find_spec(package) is not None
    if value == "auto":
        return there
    if value and not there:
        raise ConfigError(
            f"{key} is {value!r}, but {package} is not installed: pip install {package}"
        )
    return bool(value)


def _numbers(figures: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    found = []
    for name, value in figures.items():
        if isinstance(value, dict):
            found += _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", value))
    return found
