"""Find the run to resume, and check that its settings are the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import yaml

from pal_plugin.config.merging import flat
from pal_plugin.config.trained import FINISHED, recipe_of
from pal_plugin.training import checkpointing as checkpoints
from pal_plugin.training import lock
from pal_plugin.utils.errors import ConfigError

#: Keys of `run` that may change when a run resumes: what is learned does not depend on them.
FREE = (
    *("resume", "device", "output_dir", "num_workers", "torch_threads", "timeout_s", "log_freq"),
    *("save_every", "keep_checkpoints", "batch_size_eval", "tensorboard", "wandb", "parallel"),
    *("accum_grad_iters", "activation_checkpointing", "find_unused_parameters"),
    *("shard_streams", "lanes"),  # the old name, in the config.yaml of earlier runs
    *("on_nonfinite", "on_out_of_memory", "pictures"),
)

#: Keys added later, which earlier runs lack: nothing in those has that rate, and their clips were
#: in front.
LATER = ("run.lr_scale.gains", "model.audio_place")


def find_run(
    output_dir: str | Path, job_id: str | None, resume: str, asked: dict[str, Any]
) -> Path | None:
    """The folder of the run to resume; None to start a new one.

    Args:
        output_dir: the folder of run folders.
        job_id: name of the run folder, if given.
        resume: a run folder, or "auto": the folder of `job_id`, or without one the newest
            unfinished run of the recipe that has these settings and is not being trained.
        asked: the configuration.

    Raises:
        ConfigError: the folder is no run folder, or its settings differ.
    """
    root, recipe = Path(output_dir).expanduser().resolve(), asked["run"]["name"]
    if resume != "auto":
        folder = Path(resume).expanduser().resolve()
        if not (folder / "config.yaml").is_file():
            raise ConfigError(
                f"--resume {resume}: expected auto or a run folder (one with a config.yaml)"
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
            logging.info("not resuming: %s", error)
            continue
        if lock.in_use(run):
            logging.info("not resuming %s: another process is training it", run)
            continue
        return run
    return None


def saved_config(run_dir: Path) -> dict[str, Any]:
    """The configuration that a run was started with, from its `config.yaml`."""
    return yaml.safe_load((run_dir / "config.yaml").read_text("utf-8"))


def require_same(run_dir: Path, saved: dict[str, Any], asked: dict[str, Any]) -> None:
    """Refuse to resume a run with other settings.

    Raises:
        ConfigError: names each key that differs, with both values.
    """
    saved, asked = (_compared(config) for config in (saved, asked))
    later = {name for name in LATER if name not in saved}
    names = [n for n in {**saved, **asked} if saved.get(n) != asked.get(n) and n not in later]
    if names:
        listed = "; ".join(f"{n}: was {saved.get(n)!r}, now {asked.get(n)!r}" for n in names[:10])
        raise ConfigError(
            f"cannot resume {run_dir} with different settings ({listed}). Use the same settings, "
            "or start a new run without --resume (model.checkpoint loads weights)"
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
