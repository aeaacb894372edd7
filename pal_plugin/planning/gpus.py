"""Memory of GPUs, and what of it a plan may use."""

from __future__ import annotations

from argparse import ArgumentTypeError

from pal_plugin.config.kinds import Number
from pal_plugin.utils.errors import ConfigError

GIB = 2**30
#: GiB that torch sees, rounded down.
GPUS = {
    "h100": 79.0,
    "h200": 139.0,
    "a100-40": 39.0,
    "a100-80": 79.0,
    "l40s": 44.0,
    "rtx4090": 23.5,
}
# Assumptions: what CUDA, NCCL and cuBLAS take beside torch's tensors, and what the allocator loses
# between blocks of different sizes.
CONTEXT_GIB = 1.5
FRAGMENTATION = 0.05
_GIB = Number(most=10_000, above=0)


def gpu_gib(name: str) -> float:
    """GiB of a GPU by name, or a number of GiB.

    Raises:
        ConfigError: neither.
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
    """GiB that a GPU must have for so many bytes of tensors."""
    return tensor_bytes * (1 + FRAGMENTATION) / GIB + CONTEXT_GIB
