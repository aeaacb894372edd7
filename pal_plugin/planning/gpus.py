"""Memory of GPUs, and the part of it that is usable."""

from __future__ import annotations

from argparse import ArgumentTypeError

from pal_plugin.config.kinds import Number
from pal_plugin.utils.errors import ConfigError

GIB = 2**30
#: GiB visible to torch, rounded down.
GPUS = {
    "h100": 79.0,
    "h200": 139.0,
    "a100-40": 39.0,
    "a100-80": 79.0,
    "l40s": 44.0,
    "rtx4090": 23.5,
}
# Assumptions: memory of CUDA, NCCL and cuBLAS besides torch's tensors, and fragmentation of the
# caching allocator.
CONTEXT_GIB = 1.5
FRAGMENTATION = 0.05
_GIB = Number(most=10_000, above=0)


def gpu_gib(name: str) -> float:
    """Memory in GiB of a GPU name, or of a number given as text.

    Raises:
        ConfigError: neither a known GPU nor a number.
    """
    if name.lower() in GPUS:
        return GPUS[name.lower()]
    try:
        return _GIB.argument(name)
    except ArgumentTypeError:
        raise ConfigError(
            f"--gpu is {name!r}; expected {', '.join(GPUS)} or a number of GiB ({_GIB})"
        ) from None


def needed_gib(tensor_bytes: float) -> float:
    """GPU memory in GiB needed for this many bytes of tensors."""
    return tensor_bytes * (1 + FRAGMENTATION) / GIB + CONTEXT_GIB
