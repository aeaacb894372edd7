"""Run folders: make a unique one, lock it, find the newest one of a recipe.

A run folder is recognized by its `config.yaml`, not by its name, so `--job-id` is free.
"""

from __future__ import annotations

import json
import logging
import os
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


def latest_run(recipe: str, output_dir: str | Path = "output") -> Path:
    """Folder of the newest finished run of `recipe`; the choice is logged.

    Trials are passed over: runs of less than a tenth of the steps of the longest one. Where none is
    finished: the newest with a best checkpoint, with a warning.

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
        by_age = sorted(finished or found, key=lambda run: (run / BEST).stat().st_mtime_ns)
        run = _without_trials(by_age)[-1] if finished else by_age[-1]
        if finished:
            trials = [trial.name for trial in by_age[by_age.index(run) + 1 :]]
            passed = f"; newer, but a trial of few steps: {', '.join(trials)}" if trials else ""
            logging.info("latest:%s is %s%s", recipe, described(run), passed)
        else:
            message = "latest:%s is %s: no run of this recipe is finished"
            logging.warning(message, recipe, described(run))
        return run
    hint = f" (without a best checkpoint: {', '.join(sorted(unfinished))})" if unfinished else ""
    have = f" Trained recipes: {', '.join(sorted(filter(None, others)))}." if others else ""
    raise ConfigError(
        f"no trained run of {recipe!r} under {root}{hint}.{have} Train one with: "
        f"{train_command(recipe)}"
    )


def _without_trials(runs: list[Path]) -> list[Path]:
    """Those of the finished runs that trained at least a tenth as long as the longest, in order."""
    steps = [_steps(run) for run in runs]
    longest = max((count for count in steps if count is not None), default=0)
    return [r for r, n in zip(runs, steps, strict=True) if n is None or 10 * n >= longest]


def _steps(run: Path) -> int | None:
    """Steps of a finished run; None where that is not known."""
    try:
        steps = json.loads((run / FINISHED).read_text("utf-8")).get("steps")
    except (OSError, ValueError, AttributeError):
        return None
    return steps if isinstance(steps, int) else None


def described(run: Path) -> str:
    """A run folder with date, step and score of its best checkpoint, as text."""
    weights = run / BEST
    date = time.strftime("%Y-%m-%d %H:%M", time.localtime(weights.stat().st_mtime))
    try:
        facts = json.loads(weights.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        facts = {}
    steps, scores = facts.get("step"), facts.get("score") or {}
    count = "unknown steps" if steps is None else f"{steps} step{'' if steps == 1 else 's'}"
    score = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
    return f"{run} ({date}, {count}, {score or 'no score'})"


def resolve_checkpoint(location: str, output_dir: str | Path) -> Path:
    """The checkpoint file of `latest:RECIPE`, a run folder, or a file.

    Raises:
        ConfigError: it does not exist; the message says how to train one.
    """
    if location.startswith("latest:"):
        return latest_run(location.removeprefix("latest:"), output_dir) / BEST
    path = Path(location).expanduser()
    if path.is_dir():
        for name in (BEST, LAST):
            if (path / name).is_file():
                return path / name
        raise ConfigError(
            f"the folder {path} contains neither {BEST} nor {LAST}; expected a run folder"
        )
    if not path.is_file():
        raise ConfigError(
            f"no checkpoint {location!r}: expected a run folder, a .safetensors file or "
            "latest:RECIPE; train one with: pal train lal_stage1, then use latest:lal_stage1"
        )
    return path


def recipe_of(config: Path) -> str | None:
    """The recipe name in a run folder's `config.yaml`; None for a file of something else."""
    try:
        run = (yaml.safe_load(config.read_text("utf-8")) or {}).get("run") or {}
    except (yaml.YAMLError, AttributeError):
        return None
    return run.get("name")
