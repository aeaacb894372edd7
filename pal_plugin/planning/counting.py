"""Counters of FLOPs, live bytes and bytes saved for backward, on meta or real tensors."""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pal_plugin.planning.meta import FUSED, FUSED_BACKWARD


def flop_counter() -> FlopCounterMode:
    """A counter of matrix products, two FLOPs per multiply-add.

    Causal attention counts unmasked pairs only, as flash kernels compute it. The recomputation of
    activation checkpointing counts; that of scores within a fused kernel's backward pass does not.
    """
    formulas = {FUSED: _attention, FUSED_BACKWARD: _attention_backward}
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _attention(query, key, value, dropout_p=0.0, is_causal=False, *_, **__) -> int:
    """FLOPs of scores and weighted sum; query `[B, H, n, d]`, key and value `[B, Hk, k, d]`."""
    rows, heads, n, size = query
    pairs = n * (n + 1) // 2 if is_causal else n * key[2]
    return 2 * rows * heads * pairs * (size + value[3])


def _attention_backward(
    _gradient, query, key, value, _out, _logsumexp, dropout_p=0.0, is_causal=False, *_, **__
) -> int:
    return 2 * _attention(query, key, value, dropout_p, is_causal)


class SavedBytes:
    """Counts the bytes that a forward pass under `hooks()` saves for backward, each storage once.

    Args:
        without: tensors that exist anyway (weights, inputs); their storages do not count.
    """

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        self._without = {t.untyped_storage()._cdata for t in without}
        self._kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address comes twice

    def hooks(self) -> saved_tensors_hooks:
        """The context to run the forward pass in."""
        return saved_tensors_hooks(self._keep, lambda tensor: tensor)

    @property
    def total(self) -> int:
        """Bytes saved."""
        return sum(s.nbytes() for at, s in self._kept.items() if at not in self._without)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._kept[storage._cdata] = storage
        return tensor


class LiveBytes(TorchDispatchMode):
    """Tracks the storages that operations allocate under it: live bytes and their peak.

    Args:
        without: tensors that exist anyway; views of them are no new memory.

    Attributes:
        total: live bytes.
        peak: peak of live bytes, and the bytes of accumulated gradients at that moment.
        peak_without: peak of live bytes without accumulated gradients.
        made: number of storages so far, for `since`.
    """

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._without = {t.untyped_storage()._cdata for t in without}
        self._alive: dict[int, tuple[weakref.ref, int, int]] = {}
        self._gradients = 0
        self.total, self.made = 0, 0
        self.peak, self.peak_without = (0, 0), 0

    def since(self, made: int) -> int:
        """Live bytes of storages allocated since `self.made` had this value."""
        return sum(size for _, size, at in self._alive.values() if at >= made)

    def watch_gradients(self, module: nn.Module) -> list:
        """Hooks (to be removed by the caller) that count accumulated gradients separately."""

        def finished(parameter: nn.Parameter) -> None:
            self._gradients += parameter.grad.numel() * parameter.grad.element_size()

        return [
            p.register_post_accumulate_grad_hook(finished)
            for p in module.parameters()
            if p.requires_grad
        ]

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._follow(tensor.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        at = storage._cdata
        if at in self._alive or at in self._without:
            return
        size = storage.nbytes()
        self._alive[at] = weakref.ref(storage, lambda _: self._freed(at)), size, self.made
        self.total, self.made = self.total + size, self.made + 1
        self.peak = max(self.peak, (self.total, self._gradients))
        self.peak_without = max(self.peak_without, self.total - self._gradients)

    def _freed(self, at: int) -> None:
        self.total -= self._alive.pop(at)[1]
