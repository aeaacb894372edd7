"""Run folders: a unique one for every run, who uses it, and the newest one of a recipe.

A run folder is recognised by its `config.yaml` and not by its name, so `--job-id` may call it
anything.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pal_plugin.config.recipes import train_command
from pal_plugin.config.run_config import RunConfig
from pal_plugin.training import checkpointing
from pal_plugin.training.checkpoint_folder import FINISHED
from pal_plugin.training.distributed import World
from pal_plugin.training.lock import RunLock
from pal_plugin.utils.errors import ConfigError

BEST, LAST = "checkpoint_best.safetensors", "checkpoint_last.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """A folder that this run writes into.

    Attributes:
        path: made, with `config.yaml` in it and the folder `result`.
        lock: held by the first process, None in the others.
        resumed: the checkpoint that the run resumes from, and its state; None: from the start.
    """

    path: Path
    lock: RunLock | None
    resumed: tuple[Path, dict[str, Any]] | None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Give the folder back at the end of the block, however it ends."""
        try:
            yield
        finally:
            if self.lock is not None:
                self.lock.release()


def open_run_folder(cfg: RunConfig, world: World, job_id: str | None) -> RunFolder:
    """A new folder, or that of a run which is resumed. The first process makes it for all.

    Raises:
        ConfigError: it exists already, or is in use.
    """
    path = world.from_first(_make(cfg, job_id) if world.first else None)
    (path / "result").mkdir(exist_ok=True)
    lock = resumed = None
    if world.first:  # one process at a time, and one decision for all
        lock = RunLock(path)
        if cfg.run_cfg.resume:
            resumed = checkpointing.recover(path)
    return RunFolder(path, lock, world.from_first(resumed))


def _make(cfg: RunConfig, job_id: str | None) -> Path:
    run, before = cfg.run_cfg, None
    if run.evaluate:
        before = interrupted_evaluation(run.output_dir, job_id, run.name)
    if run.resume and job_id:  # the folder that `resuming.find_run` found
        before = Path(run.output_dir).expanduser().resolve() / job_id
        before = before if (before / "config.yaml").is_file() else None
    folder = before or new_run_dir(run.output_dir, run.name, job_id)
    if before is None or run.evaluate:
        cfg.save(folder / "config.yaml")
    return folder


def new_run_dir(output_dir: str | Path, recipe: str, job_id: str | None = None) -> Path:
    """Make and return `<output_dir>/<recipe>-<YYYYmmdd-HHMMSS>[-n]`, or `<output_dir>/<job_id>`.

    A relative `output_dir` is relative to the working directory.

    Raises:
        ConfigError: the folder of an explicit `job_id` exists already.
    """
    root = Path(output_dir).expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    if job_id:
        try:
            (root / job_id).mkdir()
        except FileExistsError:
            raise ConfigError(
                f"there is a run in {root / job_id} already; choose another --job-id, or leave it "
                "out for a name of its own"
            ) from None
        return root / job_id
    stem = f"{recipe}-{time.strftime('%Y%m%d-%H%M%S')}"
    attempt = 1
    while True:
        candidate = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        try:
            candidate.mkdir()  # atomic, so two runs started in one second get two folders
        except FileExistsError:
            attempt += 1
        else:
            return candidate


def interrupted_evaluation(output_dir: str | Path, job_id: str | None, recipe: str) -> Path | None:
    """The folder `<output_dir>/<job_id>` if an evaluation of `recipe` did not end in it."""
    if not job_id:
        return None
    folder = Path(output_dir).expanduser().resolve() / job_id
    config = folder / "config.yaml"
    if not config.is_file() or (folder / FINISHED).is_file() or (folder / "metrics.json").is_file():
        return None
    run = (yaml.safe_load(config.read_text("utf-8")) or {}).get("run") or {}
    return folder if run.get("evaluate") and run.get("name") == recipe else None


def latest_run(recipe: str, output_dir: str | Path = "output") -> Path:
    """Folder of the newest finished run of `recipe`.

    Where none is finished it is the newest that has a best checkpoint, and the log says so.

    Raises:
        ConfigError: there is none; the message says how to train one.
    """
    root = Path(output_dir).expanduser().resolve()
    unfinished, others, found = [], set(), []
    for config in root.glob("*/config.yaml"):
        name = recipe_of(config)
        if (config.parent / BEST).is_file():
            if name == recipe:
                found.append(config.parent)
            else:
                others.add(name)
        elif name == recipe:
            unfinished.append(config.parent.name)
    if found:
        finished = [run for run in found if (run / FINISHED).is_file()]
        run = max(finished or found, key=lambda run: (run / BEST).stat().st_mtime_ns)
        if not finished:
            logging.warning("%s was not trained to its end; it is the newest of %r", run, recipe)
        return run
    hint = f" (without a best checkpoint: {', '.join(sorted(unfinished))})" if unfinished else ""
    have = f" Trained there: {', '.join(sorted(filter(None, others)))}." if others else ""
    raise ConfigError(
        f"no trained run of {recipe!r} under {root}{hint}.{have} Train one with: "
        f"{train_command(recipe)}"
    )


def resolve_checkpoint(location: str, output_dir: str | Path) -> Path:
    """A checkpoint file from `latest:RECIPE`, a run folder or a file.

    Raises:
        ConfigError: nothing there, with the way to train one.
    """
    if location.startswith("latest:"):
        return latest_run(location.removeprefix("latest:"), output_dir) / BEST
    path = Path(location).expanduser()
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
        raise ConfigError(f"the folder {path} holds neither {BEST} nor {LAST}")
    if not path.is_file():
        raise ConfigError(
            f"no checkpoint {location!r}: expected a run folder, a .safetensors file or "
            "latest:RECIPE; train one with: pal train lal_stage1, then use latest:lal_stage1"
        )
    return path


def recipe_of(config: Path) -> str | None:
    """The recipe that a run folder's `config.yaml` names; None for somebody else's file."""
    try:
        run = (yaml.safe_load(config.read_text("utf-8")) or {}).get("run") or {}
    except (yaml.YAMLError, AttributeError):
        return None
    return run.get("name")
