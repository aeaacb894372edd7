"""Tensors that may be shards of FSDP2's, as whole ones and back."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from its shards; all processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, place: Tensor) -> Tensor:
    """A whole tensor, sharded and on the device as `place` is; all processes must call it."""
    tensor = tensor.to(place.device)
    if not isinstance(place, DTensor):
        return tensor
    return distribute_tensor(tensor, place.device_mesh, place.placements)
