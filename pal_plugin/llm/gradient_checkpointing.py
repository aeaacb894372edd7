"""Gradient checkpointing with audio: non-reentrant; reentrant works for text only.

Reentrant checkpointing passes gradients to positional arguments only, and audio is a keyword
argument: its connector would silently get no gradient.
"""

from __future__ import annotations

import torch
from torch import nn

from pal_plugin.llm.internals import checkpoints_reentrantly


class NonReentrant:
    """`gradient_checkpointing_enable` of an attached model: non-reentrant by default.

    A class rather than a closure, so that attached models can be copied and pickled.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, gradient_checkpointing_kwargs: dict | None = None, **kwargs):
        settings = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}
        return type(self.model).gradient_checkpointing_enable(self.model, settings, **kwargs)


def refuse_reentrant(layers: nn.Module) -> None:
    """Raises ValueError if audio would be trained through a reentrant checkpoint.

    Args:
        layers: a decoder layer, or a module with such layers.
    """
    if layers.training and torch.is_grad_enabled() and checkpoints_reentrantly(layers):
        raise ValueError(
            "reentrant gradient checkpointing passes no gradient to keyword arguments such as "
            "audio: use gradient_checkpointing_enable({'use_reentrant': False})"
        )
