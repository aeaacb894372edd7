"""Private attributes of torch, transformers and accelerate that LAL depends on, all in this file.

There is no public way to any of them; each function says what it is needed for. Tried with torch
2.11, transformers 4.57 and 5.24, and accelerate 1.15. (One private function more stands in
`attention/backends.py`, beside the only call of it.)
"""

from __future__ import annotations

from torch import nn
from transformers import PretrainedConfig


def attention_implementation(config: PretrainedConfig) -> str:
    """The attention implementation that a config names. `set_attn_implementation` is public and
    has no counterpart that reads."""
    return config._attn_implementation


def name_implementation(config: PretrainedConfig, name: str) -> None:
    """Make a config name another one. `set_attn_implementation` would do so for the whole model,
    and for what is saved or made from its config; this is for a copy that attention modules hold.
    """
    config._attn_implementation = name


def has_pre_hooks(module: nn.Module) -> bool:
    """Whether anything is hooked in front of a module's forward: torch registers and removes hooks
    in public, and does not list them."""
    return bool(module._forward_pre_hooks)


def is_offloaded(module: nn.Module) -> bool:
    """Whether accelerate brings the weights when the module is called, and not before; before that
    they are on the meta device, as those of a plan are."""
    return hasattr(module, "_hf_hook")


def checkpoints_reentrantly(layers: nn.Module) -> bool:
    """Whether gradient checkpointing is on, and of the reentrant kind: transformers gives each of
    its layers the function with its settings, and keeps no other record of these."""
    for module in layers.modules():
        function = getattr(module, "_gradient_checkpointing_func", None)
        if function is not None and getattr(module, "gradient_checkpointing", False):
            return getattr(function, "keywords", {}).get("use_reentrant", True)
    return False
