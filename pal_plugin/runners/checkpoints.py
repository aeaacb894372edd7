"""What a run needs to go on: `checkpoints/step-N/` with weights, optimizer and where it stands.

A checkpoint is whole or absent: it is written under another name, forced to the disk and renamed.
`state.json` holds size and CRC of every file, so that one which was damaged later is noticed, named
and passed over. Everything is safetensors and JSON; optimizer states are whole tensors by the names
of their parameters, so that another number of processes, or another way to share a model, can take
them. Needs no LAVIS.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pal_plugin.errors import ConfigError
from pal_plugin.sharding import like, whole

FOLDER, STATE = "checkpoints", "state.json"
MODEL, OPTIMIZER = "model.safetensors", "optimizer.safetensors"
_WRITING = ".writing-"
_NAME = re.compile(r"step-(\d+)$")


class SaveError(OSError):
    """A checkpoint could not be written; the earlier ones are whole."""


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
        save_model: called with the path of the weights' file.
        optimizer: what `optimizer_tensors` gave.
        state: plain values.
        keep: how many of the newest stay.

    Raises:
        SaveError: it could not be written, with the reason.
    """
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    target = folder / f"step-{step:08d}"
    with _whole_or_absent(folder, target) as staging:
        save_model(staging / MODEL)
        save_file({n: t.contiguous() for n, t in optimizer.items()}, staging / OPTIMIZER)
        files = {f.name: _facts(f) for f in sorted(staging.iterdir())}
        text = json.dumps({**state, "files": files}, indent=1)
        (staging / STATE).write_text(text + "\n", encoding="utf-8")
    for old in _steps(folder)[keep:]:
        shutil.rmtree(old)
    return target


def newest(run_dir: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint and its state; those that are damaged are named in the log."""
    folder = run_dir / FOLDER
    for leftover in folder.glob(f"{_WRITING}*"):
        shutil.rmtree(leftover, ignore_errors=True)  # of a run that was killed while it wrote
    for path in _steps(folder):
        try:
            return path, read(path)
        except ConfigError as error:
            logging.warning("%s; an older checkpoint is taken", error)
    return None


def read(path: Path) -> dict[str, Any]:
    """The state of a checkpoint, all files of which are as they were written.

    Raises:
        ConfigError: it is not whole; says which file and why.
    """
    try:
        state = json.loads((path / STATE).read_text("utf-8"))
        files = state.pop("files")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"the checkpoint {path} has no {STATE} that can be read") from error
    for name, facts in files.items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != facts["bytes"]:
            raise ConfigError(
                f"the checkpoint {path} is damaged: {name} has "
                f"{'no file' if found is None else f'{found} bytes'}, expected {facts['bytes']}"
            )
        if _facts(file) != facts:
            raise ConfigError(f"the checkpoint {path} is damaged: {name} was changed on the disk")
    return state


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """`{"PARAMETER key": tensor}` of an optimizer, on the CPU; all processes must call it."""
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        f"{names[id(p)]} {key}": whole(value).detach().cpu()
        for p, entries in optimizer.state.items()
        for key, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, path: Path) -> None:
    """Give an optimizer the states that `write` kept.

    Raises:
        ConfigError: parameters that are not the same; names them.
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
    if kept and (strange := kept.keys() ^ trained.keys()):
        raise ConfigError(
            f"{path} holds the optimizer of other parameters; of one and not the other: "
            + ", ".join(sorted(strange)[:10])
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


def _steps(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    found = [path for path in folder.glob("step-*") if _NAME.search(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(_NAME.search(path.name)[1]), reverse=True)


@contextmanager
def _whole_or_absent(folder: Path, target: Path) -> Iterator[Path]:
    staging = folder / f"{_WRITING}{target.name}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir()
        yield staging
        for file in staging.iterdir():
            _force(file)
        _force(staging)
        shutil.rmtree(target, ignore_errors=True)  # of this step, from before a resume
        os.rename(staging, target)
        _force(folder)
    except BaseException as error:
        shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError | SafetensorError):
            raise SaveError(
                f"the checkpoint {target} could not be written ({error}). Earlier checkpoints are "
                "whole: make room, then go on with --resume auto"
            ) from error
        raise


def _force(path: Path) -> None:
    """Force a file or a folder's list of names to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _facts(path: Path) -> dict[str, Any]:
    crc = 0
    with path.open("rb") as file:
        while block := file.read(2**22):
            crc = zlib.crc32(block, crc)
    return {"bytes": path.stat().st_size, "crc32": crc}
