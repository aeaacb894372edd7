"""FLOPs and bytes saved for the backward pass, counted on the meta device: no weights, no time.

FLOPs are those of the matrix products that run (`torch.utils.flop_counter`), two per multiply-add.
Three conventions:

- Causal attention counts the pairs of query and key that are not masked, as flash kernels compute
  it. The counter sees whole rectangles; what lies above the diagonal is subtracted.
- What checkpointing computes again counts, since it runs; scores that a fused kernel computes
  again inside of its backward pass do not (forward 2 products, backward 4).
- A step is forward and backward; AdamW's few FLOPs per weight are no matrix product.

Memory is that of an attention kernel that keeps no scores, without parameters and inputs, each
storage once:

- saved: what autograd hands to its outermost hooks. What is computed again is not in it, nor is
  what code with hooks of its own (checkpointing, LAL's projection) keeps instead.
- held: every tensor of the forward pass that is still alive at its end, by whomever it is kept.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.shapes import Shape
from benchmarks.variants import Batch, Variant

_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
#: Matrix products of the attention in the forward pass, and in both.
_FORWARD, _STEP = 1, 3


@dataclass(frozen=True)
class Count:
    """Of one step or one forward pass of a whole batch; without gradients nothing is kept."""

    flops: int
    saved_bytes: int | None = None
    held_bytes: int | None = None


class SavedBytes:
    """Counts what a forward pass under `hooks()` saves for the backward pass.

    Args:
        without: tensors that are there anyway; their storages do not count.
    """

    def __init__(self, without: Iterable[Tensor] = ()) -> None:
        self._without = {t.untyped_storage()._cdata for t in without}
        self._kept: dict[int, torch.UntypedStorage] = {}  # held, so that no address comes twice

    def hooks(self) -> saved_tensors_hooks:
        return saved_tensors_hooks(self._keep, lambda tensor: tensor)

    @property
    def total(self) -> int:
        return sum(s.nbytes() for at, s in self._kept.items() if at not in self._without)

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        self._kept[storage._cdata] = storage
        return tensor


class HeldBytes(TorchDispatchMode):
    """Counts what operations make under it and is still alive when `total` is read.

    Args:
        without: tensors that are there anyway; views of them are no new memory.
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


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Lets a model of transformers run on meta tensors; real ones are left alone."""
    # torch answers no question about autocast for meta tensors. None is on here.
    autocast = mock.patch.object(torch, "autocast", return_value=contextlib.nullcontext())
    enabled = mock.patch.object(torch, "is_autocast_enabled", return_value=False)
    with autocast, enabled, _MetaFunctions():
        yield


class _MetaFunctions(TorchFunctionMode):
    """Two functions that meta tensors lack, or have in a form that misleads.

    torch would take attention apart into plain products and save the scores for the backward pass,
    which no kernel in use does. The CPU's kernel stands in: it has a function for meta tensors,
    grouped queries and masks, and saves what the GPU's saves. And transformers asks for two values,
    whether a mask is all ones and whether positions are consecutive: here they are.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.__bool__ and args[0].is_meta:
            return True
        if function is F.scaled_dot_product_attention and args[0].is_meta:
            return _fused_attention(*args, **kwargs)
        return function(*args, **kwargs)


def count_step(shape: Shape, variant: Variant, batch: Batch) -> Count:
    """A training step's forward and backward pass; works on real tensors too."""
    there = [*variant.parameters(), batch.ids, batch.features, batch.mask]
    saved, held = SavedBytes(there), HeldBytes(there)
    with on_meta(), _flop_counter() as counter:
        with held:
            loss = variant.loss(batch)
        held_bytes = held.total
        loss.backward()
    flops = counter.get_total_flops() - _STEP * _above_diagonal(shape, variant, batch)
    # Another pass: the hooks' list would keep alive what it lists.
    with on_meta(), saved.hooks():
        variant.loss(batch)
    return Count(flops, saved.total, held_bytes)


@torch.no_grad()
def count_prefill(shape: Shape, variant: Variant, batch: Batch) -> Count:
    """Reading a prompt up to the logits of the first token."""
    with on_meta(), _flop_counter() as counter:
        variant.prefill_logits(batch)
    flops = counter.get_total_flops() - _FORWARD * _above_diagonal(shape, variant, batch)
    return Count(flops)


@torch.no_grad()
def count_token(shape: Shape, variant: Variant, batch: Batch) -> Count:
    """One more token of every row, with a KV cache: what a text longer by one costs more."""

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
    # The counter knows the GPU's kernels only.
    formulas = {_FUSED: _attention_flops, _FUSED_BACKWARD: _attention_backward_flops}
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _attention_flops(query, key, value, *_, **__) -> int:
    """Scores and weighted sum; shapes `[B, H, n, d]` and `[B, Hk, k, d]`."""
    rows, heads, n, size = query
    return 2 * rows * heads * n * key[2] * (size + value[3])


def _attention_backward_flops(_gradient, query, key, value, *_, **__) -> int:
    return 2 * _attention_flops(query, key, value)


def _fused_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """`scaled_dot_product_attention`; the kernel groups queries without being told."""
    return _FUSED(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
