"""Keys and values of the audio without keeping N(H) of every layer for the backward pass.

The norms of all layers divide H by the same root mean square and differ in their gains only, so the
quotient is made once. What each layer projects is that times its gain: one product per number, made
again when a projection's gradient asks for its input, where keeping it would take as much memory in
every layer as H itself. No matrix product is repeated, as checkpointing all of it would.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def keeping_no_input(
    make_input: Callable[[], Tensor], project: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """`project(make_input())` for an input [...], which backward recomputes instead of saving it.

    Args:
        make_input: cheap, and the same every time.
        project: saves its input for the backward pass, not a copy of it (`saves_its_input`).
    """
    made = make_input()
    again = _Again(make_input)
    storage, size = made.untyped_storage(), made.numel()  # one object for all views of it

    def pack(tensor: Tensor):
        if tensor.untyped_storage() is not storage or tensor.numel() != size:
            return tensor
        again.uses += 1
        return tensor.shape

    def unpack(kept):
        return again().view(kept) if isinstance(kept, torch.Size) else kept

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return project(made)


class _Again:
    """What `function` makes: made at the first use and given up at the last."""

    def __init__(self, function: Callable[[], Tensor]) -> None:
        self.function = function
        self.uses, self.left, self.value = 0, 0, None

    @torch.no_grad()
    def __call__(self) -> Tensor:
        if self.value is None:
            self.value, self.left = self.function(), self.uses
        value, self.left = self.value, self.left - 1
        if self.left <= 0:
            self.value = None
        return value


def computes_in(tensor: Tensor) -> torch.dtype:
    """The dtype of matrix products of `tensor` [...]. Autocast would copy an input, and the copy is
    not recognized as recomputable."""
    kind = tensor.device.type
    on = kind != "meta" and torch.is_autocast_enabled(kind)  # which raises for meta tensors
    return torch.get_autocast_dtype(kind) if on else tensor.dtype


def saves_its_input(module: nn.Module) -> bool:
    """Whether a projection saves its input as it is, and nothing else as large as it.

    LoRA's dropout saves a copy, and adapters of another type than the weights one that is cast.
    """
    if type(module) is nn.Linear:
        return True
    base = getattr(module, "base_layer", None)
    # By its class and not by `lora_A`: AdaLoRA and other tuners have one of another kind.
    if type(base) is not nn.Linear or _class_of(module) != "peft.tuners.lora.layer.Linear":
        return False
    if any(module.use_dora.values()):
        return False
    plain = all(type(dropout) is nn.Identity for dropout in module.lora_dropout.values())
    kinds = {adapter.weight.dtype for adapter in module.lora_A.values()}
    return plain and kinds == {base.weight.dtype}


def _class_of(module: nn.Module) -> str:
    """By name, since peft is not always installed."""
    return f"{type(module).__module__}.{type(module).__qualname__}"
