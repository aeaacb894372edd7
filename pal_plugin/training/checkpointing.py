"""Checkpoints to resume from: `checkpoints/step-N/` with weights, optimizer state and progress.

A checkpoint is complete or absent: written under a temporary name, fsynced, then renamed.
`checkpoint_folder` verifies it later. All files are safetensors and JSON; optimizer states are full
(unsharded) tensors under their parameters' names, so that a run can resume with another world size
or parallel strategy.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pal_plugin.training.checkpoint_folder import FOLDER, STATE, file_facts, newest, steps_in
from pal_plugin.training.saving import save_errors
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import force_to_disk
from pal_plugin.utils.sharding import like, whole
from pal_plugin.utils.spelling import first_of
from pal_plugin.utils.weights import write_tensors

MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_WRITING = ".writing-"


def write(
    run_dir: Path,
    step: int,
    save_model: Callable[[Path], Any],
    optimizer: dict[str, Tensor],
    state: dict[str, Any],
    keep: int,
) -> Path:
    """Write the checkpoint of a step and remove old ones.

    Args:
        run_dir: the run folder.
        step: global step.
        save_model: called with the path of the weights file.
        optimizer: as returned by `optimizer_tensors`.
        state: JSON values; `trained` lists the names of the optimizer's parameters.
        keep: number of newest checkpoints to keep, 1 or more.

    Returns:
        The checkpoint folder.

    Raises:
        SaveError: the checkpoint could not be written; gives the reason.
    """
    folder = run_dir / FOLDER
    target = folder / f"step-{step:08d}"
    if target.exists():  # same global step: nothing was trained since
        return target
    needed = sum(tensor.numel() * tensor.element_size() for tensor in optimizer.values())
    with save_errors(target, run_dir, needed), _whole_or_absent(folder, target) as staging:
        save_model(staging / MODEL)
        write_tensors(optimizer, staging / OPTIMIZER)
        files = {f.name: file_facts(f) for f in sorted(staging.iterdir())}
        text = json.dumps({**state, "files": files}, indent=1)
        (staging / STATE).write_text(text + "\n", encoding="utf-8")
    for old in [path for path in steps_in(folder) if path != target][keep - 1 :]:
        shutil.rmtree(old)
    return target


def recover(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """As `newest`, after cleaning up; call it in one process only.

    Leftovers of killed saves are removed; damaged checkpoints are renamed to `damaged-step-N`, so
    that they no longer count.
    """
    folder = run_dir / FOLDER
    for leftover in folder.glob(f"{_WRITING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    found = newest(run_dir)
    for path in steps_in(folder):
        if found is not None and path == found[0]:
            break
        shutil.rmtree(folder / f"damaged-{path.name}", ignore_errors=True)
        path.rename(folder / f"damaged-{path.name}")
    return found


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Optimizer state as `{"PARAMETER KEY": tensor}`: full tensors on the CPU, each of its
    parameter's shape, or scalar (`step`). Collective: every rank must call it.
    """
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        f"{names[id(p)]} {key}": whole(value).detach().cpu()
        for p, entries in optimizer.state.items()
        for key, value in entries.items()
    }


def trained_names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[str]:
    """Names of the optimizer's parameters, including those that have no state yet."""
    names = {id(p): n for n, p in model.named_parameters()}
    return sorted(names[id(p)] for group in optimizer.param_groups for p in group["params"])


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Load the optimizer state of a checkpoint folder `path`. Collective: every rank must call it.

    Raises:
        ConfigError: the file is unreadable, or its parameters are not the model's; names them.
    """
    try:
        tensors = load_file(path / OPTIMIZER)
    except SafetensorError as error:
        raise ConfigError(f"{path / OPTIMIZER} cannot be read: {error}") from error
    kept: dict[str, dict[str, Tensor]] = {}
    for entry, tensor in tensors.items():
        name, key = entry.rsplit(" ", 1)
        kept.setdefault(name, {})[key] = tensor
    names = {id(p): n for n, p in model.named_parameters()}
    trained = {names[id(p)]: (p, g) for g in optimizer.param_groups for p in g["params"]}
    known = set(json.loads((path / STATE).read_text("utf-8"))["trained"])
    if strange := known ^ trained.keys():
        raise ConfigError(
            f"{path}: the optimizer state does not match the model's trainable parameters; found "
            f"in only one of them: {first_of(sorted(strange))}"
        )
    for name, entries in kept.items():
        parameter, group = trained[name]
        on_device = group.get("fused") or group.get("capturable")
        optimizer.state[parameter] = {
            key: (tensor.to(parameter.device) if on_device else tensor)
            if key == "step"
            else like(tensor, parameter)
            for key, tensor in entries.items()
        }


@contextmanager
def _whole_or_absent(folder: Path, target: Path) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    staging = folder / f"{_WRITING}{target.name}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
        for file in staging.iterdir():
            force_to_disk(file)
        force_to_disk(staging)
        os.rename(staging, target)
        force_to_disk(folder)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
