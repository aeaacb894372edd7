"""KV caches of rows that come and go: T columns, of which the last are a row's and the first may
be padding.

All rows end in the last column, so a sliding window, which counts columns, holds the same tokens
whatever is padded in front: its layers keep the last `window - 1` columns of the T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from pal_plugin.llm.label_tree import fork


def is_mergeable(cache: DynamicCache) -> bool:
    """Whether `merged` is right for it: each layer holds keys and values of columns, and no state
    of any other kind."""
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def merged(caches: Sequence[DynamicCache]) -> DynamicCache:
    """The rows of several caches, one below the other, padded in front."""
    layers = zip(*(cache.layers for cache in caches), strict=True)
    joined = [[_below([getattr(p, name) for p in parts]) for name in _KV] for parts in layers]
    columns = max(cache.get_seq_length() for cache in caches)
    return _with(caches[0], columns, lambda number, name: joined[number][_KV.index(name)])


def selected(cache: DynamicCache, rows: Tensor, columns: int) -> DynamicCache:
    """Some rows (Long `[R]`), and the last `columns`."""

    def taken(number: int, name: str) -> Tensor:
        layer = cache.layers[number]
        kept = min(columns, layer.sliding_window - 1) if layer.is_sliding else columns
        tensor = getattr(layer, name)[rows]
        return tensor[:, :, tensor.shape[2] - kept :]

    return _with(cache, columns, taken)


def cropped(cache: DynamicCache, columns: int) -> DynamicCache | None:
    """The first columns; None if a sliding window has dropped some of what they saw."""
    total = cache.get_seq_length()
    if columns == total:
        return fork(cache)
    if any(layer.is_sliding and total >= layer.sliding_window for layer in cache.layers):
        return None
    return _with(
        cache, columns, lambda number, name: getattr(cache.layers[number], name)[:, :, :columns]
    )


def nbytes(cache: DynamicCache) -> int:
    """Size in memory, in bytes."""
    return sum(getattr(layer, name).nbytes for layer in cache.layers for name in _KV)


_KV = ("keys", "values")


def _with(cache: DynamicCache, columns: int, make: Callable[[int, str], Tensor]) -> DynamicCache:
    """A copy of so many columns, whose tensors `make` makes from the layer's number and a name."""
    copied = fork(cache)
    for number, layer in enumerate(copied.layers):
        for name in _KV:
            setattr(layer, name, make(number, name))
        if layer.is_sliding:
            layer.cumulative_length = columns
    return copied


def _below(tensors: Sequence[Tensor]) -> Tensor:
    """`[R, heads, t, d]` of several t, one below the other, padded in front."""
    most = max(tensor.shape[2] for tensor in tensors)
    return torch.cat([torch.nn.functional.pad(t, (0, 0, most - t.shape[2], 0)) for t in tensors])
