"""Checkpoints: what was trained, as safetensors, with a small JSON that says what it is.

Weights that were never trained are not in it; they come from where the configuration says. What an
earlier stage trained and this one only loaded goes along, so that the last file is enough. A
checkpoint names the components it holds, and within these every key must match, so nothing is
loaded in part; it also names its routing table, because types differ in nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from pal_plugin.models.components import ModelComponents
from pal_plugin.models.stages import component_of
from pal_plugin.utils.errors import UserError
from pal_plugin.utils.files import write_json
from pal_plugin.utils.sharding import like, whole
from pal_plugin.utils.weights import load_weights, write_tensors
from pal_plugin.version import __version__


class CheckpointError(UserError, ValueError):
    """A checkpoint that is not there, not readable, or not for this model."""


def trained_components(model: nn.Module) -> set[str]:
    """Components that are trained or came from a checkpoint; empty if nothing is trained.

    Of a model that is no `ModelComponents`, which notes no checkpoints: those that are trained.
    """
    trained = {component_of(n) for n, p in model.named_parameters() if p.requires_grad}
    return trained | getattr(model, "loaded_components", set()) if trained else set()


def routing_of(model: ModelComponents) -> str:
    """The model's routing table as canonical JSON."""
    table = {}
    for group, ways in sorted(model.routing.items()):
        told = [[w.integration, w.layers, *([w.pool] if w.pool > 1 else [])] for w in ways]
        table[group] = told[0] if len(told) == 1 else told
    return json.dumps(table)


def save(
    model: ModelComponents,
    path: str | Path,
    dtype: torch.dtype | None = None,
    state: dict[str, torch.Tensor] | None = None,
    /,
    **meta,
) -> Path:
    """Write `<path>.safetensors` and `<path>.json`; each is whole or absent.

    Args:
        model: parameters with `requires_grad` decide which components are written.
        path: with or without the suffix.
        dtype: storage type of floating point tensors; None keeps them.
        state: what `trained_state` gave, for a model that is sharded; None takes it here.
        meta: JSON-able facts (recipe, epoch, metrics, the model's configuration).
    """
    path = Path(path).with_suffix(".safetensors")
    components = trained_components(model)
    if not components:
        raise CheckpointError("nothing is trainable in this stage, so there is nothing to save")
    write(model, path, components, dtype, state)
    facts = {"pal_plugin": __version__, "torch": torch.__version__}
    facts["components"] = sorted(components)
    write_json(path.with_suffix(".json"), {**facts, **meta})
    return path


def trained_state(model: nn.Module, components: set[str] | None = None) -> dict[str, torch.Tensor]:
    """Parameters and buffers of `components` (default: what is trained), whole and on the CPU.

    Of a sharded model all processes must call it.
    """
    components = trained_components(model) if components is None else components
    return {
        # A copy each: tied weights share memory, which safetensors refuses.
        n: whole(t).detach().to("cpu", copy=True)
        for n, t in model.state_dict().items()
        if component_of(n) in components
    }


def write(
    model: ModelComponents,
    path: Path,
    components: set[str],
    dtype: torch.dtype | None = None,
    state: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write parameters and buffers of `components` as safetensors; the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = trained_state(model, components) if state is None else state
    if dtype is not None:
        state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
    metadata = {"components": json.dumps(sorted(components))}
    if components == {f"connectors.{model.stage.aligns}"}:
        metadata["aligned"] = str(model.stage.aligns)  # no route was taken: a start for all of them
    else:
        metadata["routing"] = routing_of(model)
    write_tensors(state, path, metadata)


def best(path: str | Path) -> Path:
    """The best checkpoint of a run's folder; a file as it is."""
    path = Path(path)
    return path / "checkpoint_best.safetensors" if path.is_dir() else path


def load(model: ModelComponents, path: str | Path) -> list[str]:
    """Load a checkpoint into `model`.

    Returns:
        The components that were loaded; all others are left as they were.

    Raises:
        CheckpointError: no such file, one that cannot be read, another routing table, or
            components, keys or shapes that are missing or do not match, each of them named.
    """
    path = best(path)
    state, metadata = _read(path)
    if metadata.get("routing", routing_of(model)) != routing_of(model):
        raise CheckpointError(
            f"{path} was trained with the routing table {metadata['routing']}, the model has "
            f"{routing_of(model)}; choose the same model.model_type (or model.routing)"
        )
    components = {component_of(n) for n in state}
    own = model.state_dict()
    expected = {n for n in own if component_of(n) in components}
    named = set(json.loads(metadata.get("components", "[]")))
    problems = [f"missing: all of {name}" for name in sorted(named - components)]
    problems += [f"unexpected: {n}" for n in sorted(state.keys() - expected)]
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
        if not model.gains and any(name.startswith("gains.") for name in components):
            hint += "\nThe file holds LAL's gains: set model.lal_gain to have a place for them."
        raise CheckpointError(f"{path} does not fit this model:\n  " + "\n  ".join(problems) + hint)
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(like(tensor, own[name]))
        if "llm.lora" not in components:
            # Adapters of another checkpoint must not stay active beside these weights.
            for name in own:
                if ".lora_B." in name:
                    own[name].zero_()
        for group, gain in model.gains.items():
            heard = f"connectors.{group}" in components and "aligned" not in metadata
            if heard and f"gains.{group}" not in components:
                gain.fill_(1)  # the LLM learned to hear this connector without a gain
    model.note_loaded(components)
    return sorted(components)


def load_encoders(encoders: nn.ModuleDict, path: str | Path) -> None:
    """Load what a checkpoint holds of these encoders, by name; it may hold none of them.

    Raises:
        CheckpointError: no such file, or one that cannot be read.
        ValueError: names every key that is missing, unexpected or of another shape.
    """
    path = best(path)
    state, _ = _read(path)
    for name, encoder in encoders.items():
        prefix = f"encoders.{name}."
        weights = {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
        if weights:
            load_weights(encoder, weights, path)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """`(tensors, metadata)` of a file, or CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} is not a .safetensors file, the only format read here")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} cannot be read (is it complete?): {error}") from error
    return state, metadata
