"""FLOPs and bytes saved for the backward pass, counted on the meta device: no weights, no time.

FLOPs are those of the matrix products that run (`torch.utils.flop_counter`), two per multiply-add.
Three conventions:

- Causal attention counts unmasked pairs of query and key, as flash kernels compute it. The counter
  sees full rectangles; the part above the diagonal is subtracted.
- The recomputation of activation checkpointing counts; that of scores within a fused kernel's
  backward pass does not (forward 2 products, backward 4).
- A step is forward and backward; AdamW's few FLOPs per weight are not matrix products.

Memory is that of an attention kernel that saves no scores, without parameters and inputs, each
storage once:

- saved: what autograd passes to its outermost hooks, without recomputed tensors and without what
  code with its own hooks (checkpointing, LAL's projection) keeps instead.
- held: every tensor of the forward pass that is alive at its end, whoever holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.shapes import Shape
from benchmarks.variants import Batch, Variant
from pal_plugin.planning.counting import SavedBytes
from pal_plugin.planning.meta import FUSED, FUSED_BACKWARD, on_meta

#: Matrix products of the attention in the forward pass, and in both.
_FORWARD, _STEP = 1, 3


@dataclass(frozen=True)
class Count:
    """Counts of one step or forward pass of a batch; without gradients nothing is saved."""

    flops: int
    saved_bytes: int | None = None
    held_bytes: int | None = None


class HeldBytes(TorchDispatchMode):
    """Counts the bytes that operations allocate under it and that are alive when `total` is read.

    Args:
        without: tensors that exist anyway; views of them are no new memory.
    """

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self._without = {t.untyped_storage()._cdata for t in without}
        self._made: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def total(self) -> int:
        return sum(size for held, size in self._made.values() if not held.expired())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self._without:
                    self._made[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        return out


def count_step(shape: Shape, variant: Variant, batch: Batch) -> Count:
    """Count a training step's forward and backward pass; also works on real tensors."""
    there = [*variant.parameters(), batch.ids, batch.features, batch.mask]
    saved, held = SavedBytes(there), HeldBytes(there)
    with on_meta(), _flop_counter() as counter:
        with held:
            loss = variant.loss(batch)
        held_bytes = held.total
        loss.backward()
    flops = counter.get_total_flops() - _STEP * _above_diagonal(shape, variant, batch)
    # A second pass: the hooks keep the tensors they list alive.
    with on_meta(), saved.hooks():
        variant.loss(batch)
    return Count(flops, saved.total, held_bytes)


@torch.no_grad()
def count_prefill(shape: Shape, variant: Variant, batch: Batch) -> Count:
    """Count the prefill of a prompt, up to the logits of the first token."""
    with on_meta(), _flop_counter() as counter:
        variant.prefill_logits(batch)
    flops = counter.get_total_flops() - _FORWARD * _above_diagonal(shape, variant, batch)
    return Count(flops)


@torch.no_grad()
def count_token(shape: Shape, variant: Variant, batch: Batch) -> Count:
    """Count one decoding step of every row with a KV cache: the extra cost of one more token."""

    def hidden_states(batch: Batch) -> int:
        with on_meta(), _flop_counter() as counter:
            variant.hidden(batch)
        return counter.get_total_flops() - _FORWARD * _above_diagonal(shape, variant, batch)

    longer = replace(batch, ids=F.pad(batch.ids, (0, 1)))
    head = 2 * len(batch.ids) * shape.width * shape.vocab
    return Count(hidden_states(longer) - hidden_states(batch) + head)


def _above_diagonal(shape: Shape, variant: Variant, batch: Batch) -> int:
    """FLOPs of one pass through the masked scores of the causal self-attention in all layers."""
    length = variant.prefix + batch.ids.shape[1]
    masked = length * (length - 1) // 2
    return len(batch.ids) * shape.layers * 4 * shape.heads * shape.head_dim * masked


def _flop_counter() -> FlopCounterMode:
    # The counter knows only the GPU's kernels.
    formulas = {FUSED: _attention_flops, FUSED_BACKWARD: _attention_backward_flops}
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _attention_flops(query, key, value, *_, **__) -> int:
    """FLOPs of scores and weighted sum; query `[B, H, n, d]`, key and value `[B, Hk, k, d]`."""
    rows, heads, n, size = query
    return 2 * rows * heads * n * key[2] * (size + value[3])


def _attention_backward_flops(_gradient, query, key, value, *_, **__) -> int:
    return 2 * _attention_flops(query, key, value)
