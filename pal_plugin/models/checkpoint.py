"""Checkpoints: what was trained, as safetensors, with a small JSON that says what it is.

Frozen weights are not in it; they come from where the configuration says. A checkpoint names the
components it holds, and within these every key must match, so nothing is loaded in part.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pal_plugin.models.stages import component_of
from pal_plugin.version import __version__


class CheckpointError(ValueError):
    """A checkpoint that is not there, not readable, or not for this model."""


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers of every component that has a trainable parameter."""
    trained = {component_of(n) for n, p in model.named_parameters() if p.requires_grad}
    return {n: t for n, t in model.state_dict().items() if component_of(n) in trained}


def save(model: nn.Module, path: str | Path, dtype: torch.dtype | None = None, /, **meta) -> Path:
    """Write `<path>.safetensors` and `<path>.json`; each is whole or absent.

    Args:
        model: parameters with `requires_grad` decide which components are written.
        path: with or without the suffix.
        dtype: storage type of floating point tensors; None keeps them.
        meta: JSON-able facts (recipe, epoch, metrics, the model's configuration).
    """
    path = Path(path).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    state = trained_state(model)
    if not state:
        raise CheckpointError("nothing is trainable in this stage, so there is nothing to save")
    components = sorted({component_of(n) for n in state})
    state = {
        n: t.detach().to(dtype if dtype and t.is_floating_point() else t.dtype).cpu().contiguous()
        for n, t in state.items()
    }
    facts = {"pal_plugin": __version__, "torch": torch.__version__, "components": components}
    temporary = path.with_suffix(".safetensors.tmp")
    save_file(state, temporary, metadata={"components": json.dumps(components)})
    os.replace(temporary, path)
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps({**facts, **meta}, indent=2) + "\n", "utf-8")
    os.replace(temporary, path.with_suffix(".json"))
    return path


def load(model: nn.Module, path: str | Path) -> list[str]:
    """Load a checkpoint into `model`.

    Returns:
        The components that were loaded; all others are left as they were.

    Raises:
        CheckpointError: no such file, or keys or shapes that do not match, each of them named.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "checkpoint_best.safetensors"
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} is not a .safetensors file, the only format read here")
    state = load_file(path)
    components = {component_of(n) for n in state}
    own = model.state_dict()
    expected = {n for n in own if component_of(n) in components}
    problems = [f"unexpected: {n}" for n in sorted(state.keys() - expected)]
    problems += [f"missing: {n}" for n in sorted(expected - state.keys())]
    problems += [
        f"shape: {n} is {tuple(state[n].shape)} in the file and {tuple(own[n].shape)} in the model"
        for n in sorted(expected & state.keys())
        if state[n].shape != own[n].shape
    ]
    if problems:
        hint = ""
        if "llm.lora" in components and not any(".lora_" in n for n in own):
            hint = (
                "\nThe file holds LoRA adapters: set model.stage.llm=lora to have a place for them."
            )
        raise CheckpointError(f"{path} does not fit this model:\n  " + "\n  ".join(problems) + hint)
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)
    return sorted(components)
