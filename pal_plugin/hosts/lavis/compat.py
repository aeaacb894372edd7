"""Compatibility shims to import salesforce-lavis 1.0.2 with current transformers.

LAVIS is no longer maintained, and its files are not modified; this module restores the few names
that its `import` statements need. A name is added only if it is absent, so the shims do nothing
with an older transformers; remove them when LAVIS releases a version whose metadata allows
transformers 5. Only importing is supported: LAVIS's own Q-Former models cannot be constructed with
transformers 5.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import sys
import types
import warnings
from collections.abc import Iterator

import torch

# timm moved these modules and warns at every import of LAVIS's vision towers.
_TIMM_WARNINGS = (
    r"Importing from timm\.models\.layers is deprecated",
    r"Importing from timm\.models\.registry is deprecated",
    r"Importing from timm\.models\.hub is deprecated",
    r"Importing from timm\.models\.helpers is deprecated",
)
# LAVIS's VQA scorer has "\\d" in plain strings, of which Python 3.12 warns at compile time.
_ESCAPE_WARNING = r".*invalid escape sequence"


def install() -> None:
    """Install every shim that is needed. Idempotent."""
    _restore_moved_names()
    _restore_head_pruning()
    _restore_model_parallel_utils()
    _stand_in_for_decord()


@contextlib.contextmanager
def quiet_lavis_import() -> Iterator[None]:
    """Silence the import-time warnings of LAVIS's own files, and no others."""
    with warnings.catch_warnings():
        for message in _TIMM_WARNINGS:
            warnings.filterwarnings("ignore", message=message, category=FutureWarning)
        for category in (SyntaxWarning, DeprecationWarning):
            warnings.filterwarnings("ignore", message=_ESCAPE_WARNING, category=category)
        yield


def _restore_moved_names() -> None:
    """transformers 5 has these in `pytorch_utils`; LAVIS imports them from `modeling_utils`."""
    import transformers.modeling_utils as modeling_utils
    import transformers.pytorch_utils as pytorch_utils

    for name in ("apply_chunking_to_forward", "prune_linear_layer"):
        if not hasattr(modeling_utils, name):
            setattr(modeling_utils, name, getattr(pytorch_utils, name))


def _restore_head_pruning() -> None:
    """transformers 5 dropped head pruning; LAVIS imports the helper from two modules."""
    import transformers.modeling_utils as modeling_utils
    import transformers.pytorch_utils as pytorch_utils

    for module in (pytorch_utils, modeling_utils):
        if not hasattr(module, "find_pruneable_heads_and_indices"):
            module.find_pruneable_heads_and_indices = _find_pruneable_heads_and_indices


def _restore_model_parallel_utils() -> None:
    """transformers 5 dropped this module; LAVIS's T5 imports two functions from it."""
    name = "transformers.utils.model_parallel_utils"
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        return
    module = types.ModuleType(name, "Stand-in made by pal_plugin.hosts.lavis.compat.")
    module.assert_device_map = _assert_device_map
    module.get_device_map = _get_device_map
    sys.modules[name] = module


def _stand_in_for_decord() -> None:
    """decord (video) has no wheels for linux-aarch64 and macOS arm64, and audio does not need it.

    Needed until LAVIS imports decord lazily.
    """
    if "decord" in sys.modules or importlib.util.find_spec("decord") is not None:
        return
    module = types.ModuleType("decord", "Stand-in made by pal_plugin.hosts.lavis.compat.")
    module.bridge = types.SimpleNamespace(set_bridge=lambda name: None)
    module.VideoReader = _NoVideoReader
    sys.modules["decord"] = module


class _NoVideoReader:
    def __init__(self, *args: object, **kwargs: object) -> None:
        raise ImportError("reading video needs decord, which is not installed: pip install decord")


def _find_pruneable_heads_and_indices(
    heads: list[int], n_heads: int, head_size: int, already_pruned_heads: set[int]
) -> tuple[set[int], torch.Tensor]:
    """Heads still to prune, and the indices `[K]` of the K features to keep.

    Args:
        heads: heads to prune, numbered as in the full layer.
        n_heads: current heads of the layer, without `already_pruned_heads`.
    """
    remaining = set(heads) - already_pruned_heads
    keep = torch.ones(n_heads, head_size, dtype=torch.bool)
    for head in remaining:
        keep[head - sum(pruned < head for pruned in already_pruned_heads)] = False
    return remaining, keep.flatten().nonzero().squeeze(1)


def _get_device_map(n_layers: int, devices: list[int]) -> dict[int, list[int]]:
    """Assign `n_layers` consecutive layers to `devices` in equal blocks."""
    share = math.ceil(n_layers / len(devices))
    return {
        device: list(range(n_layers))[i * share : (i + 1) * share]
        for i, device in enumerate(devices)
    }


def _assert_device_map(device_map: dict[int, list[int]], num_blocks: int) -> None:
    """Raise ValueError unless every one of `num_blocks` layers is on exactly one device."""
    placed = sorted(layer for layers in device_map.values() for layer in layers)
    if placed != list(range(num_blocks)):
        raise ValueError(
            f"the device map: expected each of the layers 0..{num_blocks - 1} once, got {placed}"
        )
