"""Recognizes the base weights that a saved model was trained on, without a copy of them.

A folder of `save_pretrained` stores a few values of each tensor that it does not contain, and
settings that affect results but not weights; another base model is then rejected by name.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

from pal_plugin.llm.loading import read_config
from pal_plugin.models.checkpoint import CheckpointError
from pal_plugin.models.stages import component_of
from pal_plugin.utils.hub import snapshot
from pal_plugin.utils.locations import resolve

_SAMPLES = 4
#: Two bfloat16 roundings, or one float16 subnormal: the same base may be loaded in another dtype.
_TOLERANCE, _LEAST = 2.0**-7, 2.0**-24
#: LLM settings that affect results but not weights; rope is sampled, as its keys vary by version.
_LLM_SETTINGS = (
    *("num_attention_heads", "num_key_value_heads", "head_dim", "rms_norm_eps"),
    *("hidden_act", "hidden_activation", "query_pre_attn_scalar"),
    *("attn_logit_softcapping", "final_logit_softcapping"),
)
#: Buffers computed by transformers, whose names and existence vary by version.
_COMPUTED = ("inv_freq", "embed_scale")


def shape_of(config: PretrainedConfig) -> str:
    """An LLM's architecture in words: type, layers, width, vocabulary."""
    return (
        f"{config.model_type}, {config.num_hidden_layers} layers, width {config.hidden_size}, "
        f"{config.vocab_size} tokens"
    )


def settings_of(config: PretrainedConfig) -> dict[str, Any]:
    """An LLM's settings that change its results and not its weights."""
    found = {name: getattr(config, name, None) for name in _LLM_SETTINGS}
    found["head_dim"] = found["head_dim"] or config.hidden_size // config.num_attention_heads
    return found


def check_config(folder: Path, facts: dict, path: str) -> None:
    """Raises CheckpointError if the LLM at `path` has other settings or another shape.

    Args:
        folder: the saved model, for the message.
        facts: its config.json.
        path: a folder or a Hub id.
    """
    config = read_config(snapshot(resolve(path), ["config.json"]))
    settings = settings_of(config)
    differ = [
        f"{name} {settings.get(name)} instead of {value}"
        for name, value in facts.get("llm_settings", {}).items()
        if settings.get(name) != value
    ]
    if differ:
        raise CheckpointError(
            f"{folder} was trained on the LLM {facts['model']['llm']['path']}; {path} differs: "
            f"its config.json has {', '.join(differ)}. Set llm= to the right one"
        )
    found = shape_of(config)
    if found != facts["llm_shape"]:
        raise CheckpointError(
            f"{folder} was trained on the LLM {facts['model']['llm']['path']} "
            f"({facts['llm_shape']}); {path} differs ({found})"
        )


def samples_of(model: nn.Module, component: str) -> dict[str, list[float]]:
    """A few evenly spaced values of each floating-point tensor of a component, buffers included."""
    found = {}
    tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers())
    for name, tensor in tensors.items():
        if component_of(name) == component and tensor.is_floating_point() and tensor.numel():
            flat = tensor.detach().flatten()
            at = torch.linspace(0, len(flat) - 1, _SAMPLES + 2, dtype=torch.double).long()[1:-1]
            found[name] = flat[at.to(flat.device)].float().tolist()
    return found


def check_samples(
    folder: Path, facts: dict, section: dict, model: nn.Module, component: str, expected: dict
) -> None:
    """Raises CheckpointError if a component that is not in the folder has other weights.

    Args:
        folder, facts: as for `check_config`.
        section: the `model:` section that the model was built from.
        model: with its base weights loaded.
        component: such as "llm" or "encoders.whisper".
        expected: what `samples_of` returned when the folder was written.
    """
    if component == "llm" and section["llm"].get("quantize"):
        logging.warning("the LLM is quantized; not checking that it is the base model")
        return
    found = samples_of(model, component)
    wrong = []
    for name, numbers in expected.items():
        here = found.get(name)
        if here is None and name.endswith(_COMPUTED):
            continue
        near = here is not None and all(
            abs(a - b) <= max(_LEAST, _TOLERANCE * max(abs(a), abs(b)))
            for a, b in zip(here, numbers, strict=True)
        )
        if not near:
            wrong.append(name)
    if wrong:
        kind, _, name = component.partition(".")
        entry = section["llm"]["path"] if kind == "llm" else section[kind][name].get("checkpoint")
        before = facts["model"]["llm" if kind == "llm" else kind]
        before = before["path"] if kind == "llm" else before[name].get("checkpoint")
        raise CheckpointError(
            f"{folder} was trained on {component} of {before}, but {entry} has other weights: "
            f"{len(wrong)} of {len(expected)} tensors differ, the first is {wrong[0]}. Set the "
            f"right one by {'llm=' if kind == 'llm' else f'encoders={{{name!r}: ...}}'}"
        )
