"""Checkpoints: trained weights as safetensors, with a small JSON of metadata.

Weights that were never trained are not included; the configuration says where they come from.
Components that an earlier stage trained and this one only loaded are included, so that the last
file suffices. A checkpoint lists its components, and all keys of these must match, so nothing is
loaded partially; it also stores its routing table, the only difference between model types.
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
    """A checkpoint that is missing, unreadable, or does not match the model."""


def trained_components(model: nn.Module) -> set[str]:
    """Components that are trainable or came from a checkpoint; empty if none is trainable.

    For a model that is not a `ModelComponents`, which tracks no checkpoints: trainable components.
    """
    trained = {component_of(n) for n, p in model.named_parameters() if p.requires_grad}
    return trained | getattr(model, "loaded_components", set()) if trained else set()


def routing_of(model: ModelComponents) -> str:
    """The model's routing table as canonical JSON."""
    table = {}
    for group, ways in sorted(model.routing.items()):
        entry = [[w.integration, w.layers, *([w.pool] if w.pool > 1 else [])] for w in ways]
        table[group] = entry[0] if len(entry) == 1 else entry
    return json.dumps(table)


def save(
    model: ModelComponents,
    path: str | Path,
    dtype: torch.dtype | None = None,
    state: dict[str, torch.Tensor] | None = None,
    /,
    **meta,
) -> Path:
    """Writes `<path>.safetensors` and `<path>.json`, each atomically.

    Args:
        model: parameters with `requires_grad` determine which components are written.
        path: with or without the suffix.
        dtype: storage dtype of floating-point tensors; None keeps it.
        state: output of `trained_state`, for a sharded model; None: computed here.
        meta: JSON-serializable metadata (recipe, epoch, metrics, model configuration).

    Raises:
        CheckpointError: if nothing is trainable.
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
    """Parameters and buffers of `components` (default: the trained ones), unsharded on the CPU.

    Collective: with a sharded model, all ranks must call it.
    """
    components = trained_components(model) if components is None else components
    return {
        # Copied: tied weights share storage, which safetensors rejects.
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
    """Writes parameters and buffers of `components` as safetensors, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = trained_state(model, components) if state is None else state
    if dtype is not None:
        state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in state.items()}
    metadata = {"components": json.dumps(sorted(components))}
    if components == {f"connectors.{model.stage.aligns}"}:
        metadata["aligned"] = str(model.stage.aligns)  # independent of the route: fits all of them
    else:
        metadata["routing"] = routing_of(model)
    write_tensors(state, path, metadata)


def best(path: str | Path) -> Path:
    """The best checkpoint of a run folder; a file unchanged."""
    path = Path(path)
    return path / "checkpoint_best.safetensors" if path.is_dir() else path


def load(model: ModelComponents, path: str | Path) -> list[str]:
    """Loads a checkpoint into `model`.

    Returns:
        The loaded components; all others are unchanged.

    Raises:
        CheckpointError: if the file is missing or unreadable, the routing table differs, or
            components, keys or shapes are missing or do not match; names each of them.
    """
    path = best(path)
    state, metadata = _read(path)
    if metadata.get("routing", routing_of(model)) != routing_of(model):
        raise CheckpointError(
            f"{path} was trained with the routing table {metadata['routing']}, the model has "
            f"{routing_of(model)}; set the same model.model_type (or model.routing)"
        )
    components = {component_of(n) for n in state}
    own = model.state_dict()
    expected = {n for n in own if component_of(n) in components}
    named = set(json.loads(metadata.get("components", "[]")))
    problems = [f"missing: all of {name}" for name in sorted(named - components)]
    problems += [f"unexpected: {n}" for n in sorted(state.keys() - expected)]
    problems += [f"missing: {n}" for n in sorted(expected - state.keys())]
    problems += [
        f"shape: {n} is {tuple(state[n].shape)} in the file, {tuple(own[n].shape)} in the model"
        for n in sorted(expected & state.keys())
        if state[n].shape != own[n].shape
    ]
    if problems:
        hint = ""
        if "llm.lora" in components and not any(".lora_" in n for n in own):
            hint = "\nThe file has LoRA adapters: set model.stage.llm=lora to load them."
        if not model.gains and any(name.startswith("gains.") for name in components):
            hint += "\nThe file has LAL gains: set model.lal_gain to load them."
        raise CheckpointError(
            f"{path} does not match this model:\n  " + "\n  ".join(problems) + hint
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(like(tensor, own[name]))
        if "llm.lora" not in components:
            # Adapters of another checkpoint must not stay active with these weights.
            for name in own:
                if ".lora_B." in name:
                    own[name].zero_()
        for group, gain in model.gains.items():
            heard = f"connectors.{group}" in components and "aligned" not in metadata
            if heard and f"gains.{group}" not in components:
                gain.fill_(1)  # the LLM was trained with this connector without a gain
    model.note_loaded(components)
    return sorted(components)


def load_encoders(encoders: nn.ModuleDict, path: str | Path) -> None:
    """Loads the weights that a checkpoint has for these encoders, by name, possibly none.

    Raises:
        CheckpointError: if the file is missing or unreadable.
        ValueError: if keys are missing, unexpected or have the wrong shape; names all of them.
    """
    path = best(path)
    state, _ = _read(path)
    for name, encoder in encoders.items():
        prefix = f"encoders.{name}."
        weights = {k.removeprefix(prefix): t for k, t in state.items() if k.startswith(prefix)}
        if weights:
            load_weights(encoder, weights, path)


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """`(tensors, metadata)` of a file; raises CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} is not a .safetensors file, the only supported format")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"cannot read {path} (is it complete?): {error}") from error
    return state, metadata
