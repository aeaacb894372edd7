"""Hash of everything that an `AudioKV` depends on, so that it is not used with another model."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from pal_plugin.models.components import ModelComponents

#: Modules that affect an LLM's keys and values, by parts of their names.
_MAKES_KV = ("layernorm", "k_proj", "v_proj", "qkv_proj", "k_norm")
_ROTARY_AND_NORMS = ("rope", "rms_norm", "no_rope")


class Fingerprint:
    """SHA-256 of the weights and settings that determine the LLM's representation of audio.

    Recomputed when a tensor changes; changes through `.data` are not detected, by torch either.
    """

    def __init__(self) -> None:
        self._stamp: tuple | None = None
        self._digest = ""

    def of(self, model: ModelComponents) -> str:
        """The hash of `model` as 64 hexadecimal digits."""
        everything = {**dict(model.named_buffers()), **model.state_dict(keep_vars=True)}
        tensors = {
            name: tensor
            for name, tensor in sorted(everything.items())
            if not name.startswith("llm.") or any(part in name for part in _MAKES_KV)
        }
        settings = repr(_settings(model))
        stamp = (settings, tuple((id(t), t._version) for t in tensors.values()))
        if self._stamp != stamp:
            self._stamp, self._digest = stamp, _digest(settings, tensors)
        return self._digest


def _digest(settings: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(settings.encode())
    for name, tensor in tensors.items():
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()


def _settings(model: ModelComponents) -> list:
    """Settings besides weights: routing, rotary embedding, front end, LoRA scale."""
    config = model.llm.config.to_dict()
    plain = int | float | str | bool | tuple
    return [
        sorted(model.routing.items()),
        sorted(model.groups.items()),
        [(key, config[key]) for key in sorted(config) if key.startswith(_ROTARY_AND_NORMS)],
        [
            (name, sorted((k, v) for k, v in vars(f).items() if isinstance(v, plain)))
            for name, f in sorted(model.frontend.features.items())
        ],
        [
            (name, sorted(module.scaling.items()), module.disable_adapters)
            for name, module in model.llm.named_modules()
            if isinstance(getattr(module, "scaling", None), dict)
        ],
    ]
