"""Trained runs: the newest one of a recipe, and the checkpoint of a location.

A run folder is recognized by its `config.yaml`, not by its name, so `--job-id` is free.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import yaml

from pal_plugin.config.recipes import train_command
from pal_plugin.utils.errors import ConfigError

BEST, LAST = "checkpoint_best.safetensors", "checkpoint_last.safetensors"
#: Written when a training has ended.
FINISHED = "finished.json"


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
