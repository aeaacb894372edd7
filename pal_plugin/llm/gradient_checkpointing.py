"""Gradient checkpointing beside audio: the non-reentrant kind, the other one for text alone.

Reentrant checkpointing passes gradients to positional arguments only, and audio travels as a
keyword: its connector would be trained on nothing, without a word.
"""

from __future__ import annotations

import torch
from torch import nn

from pal_plugin.llm.internals import checkpoints_reentrantly


class NonReentrant:
    """`gradient_checkpointing_enable` of a model that hears: non-reentrant unless told otherwise.

    A class and no closure, so that an attached model can be copied and pickled.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, gradient_checkpointing_kwargs: dict | None = None, **kwargs):
        settings = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}
        return type(self.model).gradient_checkpointing_enable(self.model, settings, **kwargs)


def refuse_reentrant(layers: nn.Module) -> None:
    """Raises ValueError where audio is about to be trained on through a reentrant checkpoint.

    Args:
        layers: a decoder layer, or what holds such.
    """
    if layers.training and torch.is_grad_enabled() and checkpoints_reentrantly(layers):
        raise ValueError(
            "reentrant gradient checkpointing passes no gradient to keyword arguments, where the "
            "audio is: gradient_checkpointing_enable({'use_reentrant': False})"
        )
