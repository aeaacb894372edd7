"""Finding the run to go on with, and making sure that it is the same run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from pal_plugin.config.merging import flat
from pal_plugin.training import checkpointing as checkpoints
from pal_plugin.training import lock
from pal_plugin.training.checkpoint_folder import FINISHED
from pal_plugin.training.run_folder import recipe_of
from pal_plugin.utils.errors import ConfigError

#: Keys of `run` that may be others when a run goes on: nothing that is learned depends on them.
FREE = (
    *("resume", "device", "output_dir", "num_workers", "torch_threads", "timeout_s", "log_freq"),
    *("save_every", "keep_checkpoints", "batch_size_eval", "tensorboard", "wandb", "parallel"),
    *("accum_grad_iters", "activation_checkpointing", "find_unused_parameters", "lanes"),
    *("on_nonfinite", "on_out_of_memory", "pictures"),
)

#: Keys that came later, and that a run from before does without: nothing in it has that rate.
LATER = ("run.lr_scale.gains",)


def find_run(
    output_dir: str | Path, job_id: str | None, resume: str, asked: dict[str, Any]
) -> Path | None:
    """The folder of the run to go on with, None to start one.

    Args:
        resume: "auto", for the folder of `job_id`, or without one the newest run of the recipe that
            has these settings, is not finished, and that nobody trains; else a run folder.
        asked: the configuration.

    Raises:
        ConfigError: a folder that is no run, or of other settings.
    """
    root, recipe = Path(output_dir).expanduser().resolve(), asked["run"]["name"]
    if resume != "auto":
        folder = Path(resume).expanduser().resolve()
        if not (folder / "config.yaml").is_file():
            raise ConfigError(
                f"--resume {resume}: expected auto or a run folder (with a config.yaml in it)"
            )
        require_same(folder, saved_config(folder), asked)
        return folder
    if job_id:
        folder = root / job_id
        if not (folder / "config.yaml").is_file():
            return None
        require_same(folder, saved_config(folder), asked)
        return folder
    candidates = [
        config.parent
        for config in root.glob("*/config.yaml")
        if recipe_of(config) == recipe
        and not (config.parent / FINISHED).is_file()
        and any((config.parent / checkpoints.FOLDER).glob("step-*"))
    ]
    candidates.sort(key=lambda run: (run / "config.yaml").stat().st_mtime_ns, reverse=True)
    for run in candidates:
        try:
            require_same(run, saved_config(run), asked)
        except ConfigError as error:
            logging.info("passed over: %s", error)
            continue
        if lock.in_use(run):
            logging.info("passed over: %s is being trained", run)
            continue
        return run
    return None


def saved_config(run_dir: Path) -> dict[str, Any]:
    """The configuration that a run was started with."""
    return yaml.safe_load((run_dir / "config.yaml").read_text("utf-8"))


def require_same(run_dir: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to go on with a run under other settings.

    Raises:
        ConfigError: names each key that differs, with both values.
    """
    saved, asked = (_compared(config) for config in (saved, asked))
    later = {name for name in LATER if name not in saved}
    names = [n for n in {**saved, **asked} if saved.get(n) != asked.get(n) and n not in later]
    if names:
        listed = "; ".join(f"{n}: {saved.get(n)!r} then, {asked.get(n)!r} now" for n in names[:10])
        raise ConfigError(
            f"{run_dir} cannot go on under other settings ({listed}). Give the same, or leave "
            "--resume out for a run of its own (model.checkpoint takes weights along)"
        )


def _compared(config: dict[str, Any]) -> dict[str, Any]:
    values = flat({key: config.get(key) for key in ("model", "datasets", "run")})
    ignored = {"model.checkpoint", *(f"run.{key}" for key in FREE)}
    return {
        key: value
        for key, value in values.items()
        if key not in ignored
        and not key.startswith("run.evaluation.")
        and not key.endswith((".cache.folder", ".cache.limit_gb"))
    }
