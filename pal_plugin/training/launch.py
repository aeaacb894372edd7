"""From a configuration to a started run: processes, seed, threads, checkpoint, components."""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from pal_plugin.config.registry import RUNNERS, TASKS
from pal_plugin.config.run_config import RunConfig, parse_options
from pal_plugin.config.trained import FINISHED, resolve_checkpoint
from pal_plugin.datasets.workers import dead_workers_named
from pal_plugin.training import distributed, resuming
from pal_plugin.training.run_folder import check_output_dir
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.locations import resolve
from pal_plugin.utils.runtime import Clock, keep_freed_memory, usable_cores


@dead_workers_named()  # torch may raise it anywhere in the main process
def train(cfg: RunConfig, job_id: str | None = None, clock: Clock | None = None) -> None:
    """Train, or resume as `cfg.run_cfg.resume` asks.

    Args:
        cfg: of the run.
        job_id: name of the run folder; None: a unique one.
        clock: measures the start-up time.

    Raises:
        ConfigError: a configuration, checkpoint or folder that cannot be used.
    """
    check_output_dir(cfg.run_cfg.output_dir)
    world = join(cfg)
    resume, asked = cfg.run_cfg.resume, cfg.to_dict()
    found = None
    if resume and world.first:
        found = resuming.find_run(cfg.run_cfg.output_dir, job_id, str(resume), asked)
    found = world.from_first(found)
    if found is None:
        checkpoint = cfg.model_cfg.get("checkpoint")
        if checkpoint:
            cfg = cfg.changed(model={"checkpoint": located(str(checkpoint), cfg)})
        build_run(cfg, job_id, clock).train()
    elif (found / FINISHED).is_file():
        logging.info("%s is finished; nothing to do", found)
    else:
        # The checkpoint it started from: `latest:` may resolve to another run by now.
        before = resuming.saved_config(found)["model"].get("checkpoint")
        cfg = cfg.changed(model={"checkpoint": before}, run={"output_dir": str(found.parent)})
        build_run(cfg, found.name, clock).train()


@dead_workers_named()
def evaluate(cfg: RunConfig, job_id: str | None = None, clock: Clock | None = None) -> None:
    """Evaluate the checkpoint that `evaluation_config` resolved; arguments as in `train`."""
    check_output_dir(cfg.run_cfg.output_dir)
    join(cfg)
    model = cfg.model_cfg
    logging.info("evaluating %s (%s, %s)", model.checkpoint, model.arch, model.model_type)
    build_run(cfg, job_id, clock).evaluate()


def evaluation_config(
    load: Callable[..., RunConfig], options: Sequence[str], checked: RunConfig
) -> RunConfig:
    """The configuration of an evaluation, with the model section of the checkpoint's JSON.

    Args:
        load: `load_config` with everything but `model_base`.
        options: `--options` of the command line.
        checked: the result of `load`.

    Raises:
        ConfigError: no checkpoint, or one of another arch or model_type than requested.
    """
    cfg, asked = checked, parse_options(options).get("model") or {}
    location = cfg.model_cfg.get("checkpoint") if "checkpoint" in asked else None
    if cfg.run_cfg.evaluate:  # an evaluation recipe sets its own checkpoint
        location = cfg.model_cfg.get("checkpoint")
        if not location:
            raise ConfigError(
                "model.checkpoint is null; expected a run folder, a .safetensors file or "
                "latest:RECIPE. Train one with: pal train lal_stage1"
            )
    # A training recipe's own checkpoint is what it starts from, not its result.
    checkpoint = located(str(location or f"latest:{cfg.run_cfg.name}"), cfg)
    as_trained = _model_section(checkpoint)
    if as_trained is not None:
        for key in ("arch", "model_type"):
            if key in asked and asked[key] != as_trained.get(key):
                raise ConfigError(
                    f"{checkpoint} was trained with {key} {as_trained.get(key)!r}, but --options "
                    f"ask for {asked[key]!r}; remove model.{key}, or choose another checkpoint"
                )
        cfg = load(model_base=as_trained)
    name = cfg.run_cfg.name
    if not name.startswith("eval"):  # so that latest: never resolves to an evaluation
        name = f"eval-{name}"
    return cfg.changed(model={"checkpoint": checkpoint}, run={"evaluate": True, "name": name})


def build_run(cfg: RunConfig, job_id: str | None = None, clock: Clock | None = None) -> Any:
    """Set seed and threads, build task, model and datasets, and return the run.

    Args:
        cfg, job_id, clock: as in `train`.

    Raises:
        ConfigError: the model or a dataset cannot be built.
    """
    clock, run = clock or Clock(), cfg.run_cfg
    prepare_process(run)
    task = TASKS.get(run.task).setup_task(cfg=cfg)
    with clock.counted("model"):
        model = as_user_error("the model cannot be built", task.build_model, cfg)
    with clock.counted("data"):
        datasets = as_user_error("the datasets cannot be built", task.build_datasets, cfg)
    built = RUNNERS.get(run.runner)(
        cfg=cfg, task=task, model=model, datasets=datasets, job_id=job_id
    )
    logging.info("started in %s", clock)
    return built


def prepare_process(run: Any) -> None:
    """Set seed, threads, malloc and matmul precision from the `run` section."""
    keep_freed_memory()
    set_seed(int(run.seed))
    disable_progress_bar()  # of transformers, for loading a few megabytes
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    set_threads(run.torch_threads, int(run.num_workers), processes)
    if torch.cuda.is_available() and run.tf32:
        torch.set_float32_matmul_precision("high")


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def set_threads(threads: int | str | None, num_workers: int, processes: int = 1) -> None:
    """Set torch's intra-op threads.

    Args:
        threads: `run.torch_threads`: a number, "auto" for the cores that the DataLoader workers
            leave, None to keep torch's default.
        num_workers: DataLoader workers per process.
        processes: training processes on this host.
    """
    if threads is not None:
        auto = max(1, usable_cores() // processes - num_workers)
        torch.set_num_threads(auto if threads == "auto" else int(threads))


def located(location: str, cfg: RunConfig) -> str:
    """Resolve `latest:RECIPE` or a run folder to its checkpoint file; pocket:// is kept.

    Raises:
        ConfigError: no such checkpoint.
    """
    if location.startswith("pocket://"):
        return location
    return str(resolve_checkpoint(location, cfg.run_cfg.output_dir))


def join(cfg: RunConfig) -> distributed.World:
    """Initialize the process group, if there are several processes; only rank 0 logs INFO."""
    world = distributed.join(cfg.device_name.split(":")[0], float(cfg.run_cfg.timeout_s))
    if not world.first:
        logging.getLogger().setLevel(logging.WARNING)
    return world


def as_user_error(what: str, build: Callable[[Any], Any], cfg: RunConfig) -> Any:
    """`build(cfg)`, with ValueError and FileNotFoundError turned into ConfigError.

    Args:
        what: start of the message, such as "the model cannot be built".
    """
    try:
        return build(cfg)
    except ConfigError:
        raise
    except (ValueError, FileNotFoundError) as error:
        raise ConfigError(f"{what}: {error}") from error


def _model_section(checkpoint: str) -> dict | None:
    """The model section in a checkpoint's JSON; None where there is none."""
    facts = Path(resolve(checkpoint)).with_suffix(".json")
    if not facts.is_file():
        return None
    try:
        return json.loads(facts.read_text("utf-8")).get("model")
    except json.JSONDecodeError as error:
        raise ConfigError(f"{facts}, next to the checkpoint, is not valid JSON: {error}") from error
