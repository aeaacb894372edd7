"""Keys and values of the audio without keeping N(H) of every layer for the backward pass.

H is the same at all layers and stands in memory anyway; N_l(H), the input of the projections, is as
large and differs from layer to layer. What pays is to keep H alone and to take the norm again when
a projection's gradient asks for its input: a few element-wise passes, and no product is done twice
(checkpointing all of it repeats the projections, a quarter of what LAL costs beyond the text).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def normed_then_projected(
    norm: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], tuple[Tensor, Tensor]],
    projections: list[nn.Module],
    hidden: Tensor,
) -> tuple[Tensor, Tensor]:
    """`project(norm(hidden))`, keeping `hidden` for the backward pass in place of `norm(hidden)`.

    Args:
        norm: a function of its input alone.
        projections: the modules that `project` calls with the normed input.
        hidden: `[B, m, D]`.
    """
    if not all(_keeps_its_input_only(module) for module in projections):
        return checkpoint(lambda h: project(norm(h)), hidden, use_reentrant=False)
    kind = _computes_in(hidden)

    def cast(h: Tensor) -> Tensor:
        # Autocast would make another copy, one that is not recognised below.
        return norm(h).to(kind)

    normed = checkpoint(cast, hidden, use_reentrant=False)
    again = _Again(cast, hidden)
    place, size = normed.data_ptr(), normed.numel()

    def pack(tensor: Tensor):
        if tensor.data_ptr() != place or tensor.numel() != size:
            return tensor
        again.uses += 1
        return tensor.shape

    def unpack(kept):
        return again().view(kept) if isinstance(kept, torch.Size) else kept

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return project(normed)


class _Again:
    """`function(hidden)`, computed at the first use and given up at the last."""

    def __init__(self, function: Callable[[Tensor], Tensor], hidden: Tensor) -> None:
        self.function, self.hidden = function, hidden
        self.uses, self.left, self.value = 0, 0, None

    @torch.no_grad()
    def __call__(self) -> Tensor:
        if self.value is None:
            self.value, self.left = self.function(self.hidden), self.uses
        value, self.left = self.value, self.left - 1
        if self.left <= 0:
            self.value = None
        return value


def _computes_in(hidden: Tensor) -> torch.dtype:
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


def _keeps_its_input_only(module: nn.Module) -> bool:
    """Whether a projection saves its input as it is, and nothing else as large as it.

    LoRA's dropout saves a copy, and adapters of another type than the weights one that is cast.
    """
    if type(module) is nn.Linear:
        return True
    adapters = getattr(module, "lora_A", None)
    if adapters is None or type(getattr(module, "base_layer", None)) is not nn.Linear:
        return False
    plain = all(type(dropout) is nn.Identity for dropout in module.lora_dropout.values())
    kinds = {adapter.weight.dtype for adapter in adapters.values()}
    return plain and kinds == {module.base_layer.weight.dtype}
