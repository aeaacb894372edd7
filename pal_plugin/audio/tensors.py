"""Converts clips whose samples are tensors to NumPy arrays."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pal_plugin.audio.errors import AudioError
from pal_plugin.audio.sources import unpacked


def without_tensors(source: Any) -> Any:
    """A clip (see `sources.unpacked`) with its tensors converted to NumPy arrays.

    Raises:
        AudioError: if a tensor has no readable samples (sparse, meta device).
    """
    source = unpacked(source)
    if not isinstance(source, tuple | list) or len(source) != 2:
        return source
    samples, rate_hz = source
    if isinstance(rate_hz, Tensor) and rate_hz.dim() == 0:
        rate_hz = rate_hz.item()
    if isinstance(samples, list | tuple) and any(isinstance(part, Tensor) for part in samples):
        samples = [_array(part) if isinstance(part, Tensor) else part for part in samples]
    if isinstance(samples, Tensor):
        samples = _array(samples)
    return samples, rate_hz


def _array(tensor: Tensor) -> Any:
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        kind = f"{tensor.layout} on {tensor.device}"
        raise AudioError(f"expected a dense tensor of samples, got {kind}: {error}") from error
