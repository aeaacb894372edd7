"""Run folders: make a unique one, and lock it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pal_plugin.config.run_config import RunConfig
from pal_plugin.config.trained import FINISHED
from pal_plugin.training import checkpointing
from pal_plugin.training.distributed import World
from pal_plugin.training.lock import RunLock
from pal_plugin.utils.errors import ConfigError


@dataclass(frozen=True)
class RunFolder:
    """The folder of this run.

    Attributes:
        path: exists, with `config.yaml` and the folder `result`.
        lock: held by rank 0, None on the others.
        resumed: the checkpoint to resume from, and its state; None: start from the beginning.
    """

    path: Path
    lock: RunLock | None
    resumed: tuple[Path, dict[str, Any]] | None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Release the lock at the end of the block, however it ends."""
        try:
            yield
        finally:
            if self.lock is not None:
                self.lock.release()


def folder_before(cfg: RunConfig, world: World, job_id: str | None) -> RunFolder | None:
    """The folder of the run to resume; None where a new one is to be made.

    Args:
        cfg: of the run.
        world: rank and world size.
        job_id: name of the run folder, if given.

    Raises:
        ConfigError: the folder is in use.
    """
    path = world.from_first(_before(cfg, job_id) if world.first else None)
    if path is None:
        return None
    if cfg.run_cfg.evaluate and world.first:
        cfg.save(path / "config.yaml")
    return _opened(path, world, resumes=bool(cfg.run_cfg.resume))


def new_folder(cfg: RunConfig, world: World, job_id: str | None) -> RunFolder:
    """Make a new run folder on rank 0, for all ranks; arguments as in `folder_before`.

    Raises:
        ConfigError: the folder exists already, or cannot be made.
    """
    path = None
    if world.first:
        path = new_run_dir(cfg.run_cfg.output_dir, cfg.run_cfg.name, job_id)
        cfg.save(path / "config.yaml")
    return _opened(world.from_first(path), world, resumes=False)


def _opened(path: Path, world: World, *, resumes: bool) -> RunFolder:
    (path / "result").mkdir(exist_ok=True)
    lock = resumed = None
    if world.first:  # rank 0 decides for all
        lock = RunLock(path)
        if resumes:
            resumed = checkpointing.recover(path)
    return RunFolder(path, lock, world.from_first(resumed))


def _before(cfg: RunConfig, job_id: str | None) -> Path | None:
    run = cfg.run_cfg
    if run.resume and job_id:  # the folder that `resuming.find_run` found
        folder = Path(run.output_dir).expanduser().resolve() / job_id
        return folder if (folder / "config.yaml").is_file() else None
    return interrupted_evaluation(run.output_dir, job_id, run.name) if run.evaluate else None


def check_output_dir(output_dir: str | Path) -> Path:
    """The absolute path of `run.output_dir`, which need not exist yet.

    Raises:
        ConfigError: the path or a parent is a file, or is not writable.
    """
    root = Path(output_dir).expanduser().resolve()
    nearest = next(path for path in (root, *root.parents) if path.exists())
    if not nearest.is_dir():
        raise ConfigError(
            f"run.output_dir is {str(output_dir)!r}, but {nearest} is a file; expected a folder or "
            "a path that does not exist yet"
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(
            f"run.output_dir is {str(output_dir)!r}, but {nearest} is not writable; choose another"
        )
    return root


def new_run_dir(output_dir: str | Path, recipe: str, job_id: str | None = None) -> Path:
    """Make and return `<output_dir>/<recipe>-<YYYYmmdd-HHMMSS>[-n]`, or `<output_dir>/<job_id>`.

    A relative `output_dir` is relative to the working directory.

    Raises:
        ConfigError: as in `check_output_dir`, or the folder of `job_id` exists already.
    """
    root = check_output_dir(output_dir)
    root.mkdir(parents=True, exist_ok=True)
    if job_id:
        try:
            (root / job_id).mkdir()
        except FileExistsError:
            raise ConfigError(
                f"the run folder {root / job_id} already exists; choose another --job-id, leave it "
                "out for a unique name, or continue that run with --resume auto"
            ) from None
        return root / job_id
    stem = f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    attempt = 1
    while True:
        candidate = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            candidate.mkdir()  # atomic: two runs started in the same second get two folders
        except FileExistsError:
            attempt += 1
        else:
            return candidate


def interrupted_evaluation(output_dir: str | Path, job_id: str | None, recipe: str) -> Path | None:
    """The folder `<output_dir>/<job_id>` if it holds an unfinished evaluation of `recipe`."""
    if not job_id:
        return None
    folder = Path(output_dir).expanduser().resolve() / job_id
    config = folder / "config.yaml"
    if not config.is_file() or (folder / FINISHED).is_file() or (folder / "metrics.json").is_file():
        return None
    run = (yaml.safe_load(config.read_text("utf-8")) or {}).get("run") or {}
    return folder if run.get("evaluate") and run.get("name") == recipe else None
