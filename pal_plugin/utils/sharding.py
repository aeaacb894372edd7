"""Convert tensors that FSDP2 may have sharded to full ones and back."""

from __future__ import annotations

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """The full tensor, of the same (global) shape [...]. Collective: every rank must call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, place: Tensor) -> Tensor:
    """A full tensor [...], on the device and with the sharding of `place` [...]. Collective."""
    tensor = tensor.to(place.device)
    if not isinstance(place, DTensor):
        return tensor
    return distribute_tensor(tensor, place.device_mesh, place.placements)
