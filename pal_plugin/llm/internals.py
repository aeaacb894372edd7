"""Private attributes of torch, transformers and accelerate that LAL depends on, all in this file.

None has a public alternative; each function says what it is needed for. Tested with torch 2.11,
transformers 4.57 and 5.24, and accelerate 1.15. (One more private function is in
`attention/backends.py`, next to its only call.)
"""

from __future__ import annotations

from torch import nn
from transformers import PretrainedConfig


def attention_implementation(config: PretrainedConfig) -> str:
    """The attention implementation in a config. `set_attn_implementation` is public, but there is
    no public getter."""
    return config._attn_implementation


def name_implementation(config: PretrainedConfig, name: str) -> None:
    """Sets the attention implementation of a config copy that attention modules hold;
    `set_attn_implementation` would change the whole model, and what is saved or built from its
    config."""
    config._attn_implementation = name


def has_pre_hooks(module: nn.Module) -> bool:
    """Whether a module has forward pre-hooks: torch has a public way to add and remove hooks, but
    not to list them."""
    return bool(module._forward_pre_hooks)


def is_offloaded(module: nn.Module) -> bool:
    """Whether accelerate loads the weights only when the module is called; until then they are on
    the meta device, as those of a plan are."""
    return hasattr(module, "_hf_hook")


def checkpoints_reentrantly(layers: nn.Module) -> bool:
    """Whether reentrant gradient checkpointing is on: transformers stores the function and its
    settings in each layer, and nowhere else."""
    for module in layers.modules():
        function = getattr(module, "_gradient_checkpointing_func", None)
        if function is not None and getattr(module, "gradient_checkpointing", False):
            return getattr(function, "keywords", {}).get("use_reentrant", True)
    return False
