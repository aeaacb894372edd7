"""Run transformers models on meta tensors, with autocast.

torch lacks three things for meta tensors: a fused attention, values of masks, and autocast. They
are emulated here, so that the model's own code runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward

# Ops that CUDA autocast runs in the lower precision, and in float32 (torch's list of CUDA ops).
_LOWER = """
    matmul __matmul__ __rmatmul__ bmm mm mv addmm addbmm baddbmm addmv addr einsum linear prelu
    conv1d conv2d conv3d conv_transpose1d conv_transpose2d scaled_dot_product_attention
"""
_FLOAT32 = """
    __pow__ __rpow__ pow rsqrt reciprocal exp expm1 log log10 log2 log1p softplus layer_norm
    group_norm softmax log_softmax softmin cross_entropy nll_loss mse_loss norm normalize sum prod
    cumsum cumprod cdist renorm
"""
_LOWER, _FLOAT32 = frozenset(_LOWER.split()), frozenset(_FLOAT32.split())


@contextlib.contextmanager
def on_meta(autocast: torch.dtype | None = None) -> Iterator[None]:
    """Emulate CUDA for meta tensors inside the block; real tensors are unaffected.

    Call `torch.autograd.backward` instead of `Tensor.backward`, which would leave this context for
    the recomputation of activation checkpointing.

    Args:
        autocast: dtype of CUDA autocast; None: no autocast.
    """
    mode = _MetaFunctions(autocast)

    def switched(device_type: str = "meta", *_, enabled: bool = True, **__):
        return mode.switched(enabled and mode.dtype is not None)

    # torch has no autocast for meta tensors.
    with (
        mock.patch.object(torch, "autocast", switched),
        mock.patch.object(torch, "is_autocast_enabled", lambda kind="meta": mode.on(kind)),
        mock.patch.object(torch.autograd, "has_torch_function", return_value=False),
        mode,
    ):
        yield


class _MetaFunctions(TorchFunctionMode):
    """Attention, truth values and autocast of meta tensors.

    torch would decompose attention into plain products and save the scores for backward, which no
    kernel in use does. The CPU's flash kernel is used instead: it supports meta tensors, grouped
    queries and masks, and saves the same tensors as the GPU's. transformers reads two values,
    whether a mask is all ones and whether positions are consecutive: both are true here.
    """

    def __init__(self, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.dtype, self.active = dtype, dtype is not None
        self._casts: dict[int, tuple[Tensor, Tensor]] = {}

    def on(self, kind: str = "meta") -> bool:
        return kind == "meta" and self.active

    @contextlib.contextmanager
    def switched(self, active: bool) -> Iterator[None]:
        before, self.active = self.active, active
        try:
            yield
        finally:
            self.active = before

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.__bool__ and args[0].is_meta:
            return True
        if self.active:
            name = getattr(function, "__name__", "")
            to = self.dtype if name in _LOWER else torch.float32 if name in _FLOAT32 else None
            if to is not None:
                args, kwargs = tree_map_only(Tensor, lambda t: self._cast(t, to), (args, kwargs))
        if function is F.scaled_dot_product_attention and args[0].is_meta:
            return _fused_attention(*args, **kwargs)
        return function(*args, **kwargs)

    def _cast(self, tensor: Tensor, to: torch.dtype) -> Tensor:
        """Cast a tensor [...]; trainable weights are cast once per pass, as by autocast's cache."""
        if not (tensor.is_meta and tensor.is_floating_point()) or tensor.dtype == to:
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad and to == self.dtype):
            return tensor.to(to)
        if id(tensor) not in self._casts:
            self._casts[id(tensor)] = tensor, tensor.to(to)
        return self._casts[id(tensor)][1]


def _fused_attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """`scaled_dot_product_attention` of query `[B, H, n, d]`, key and value `[B, Hk, k, d]`; the
    kernel supports grouped queries without a flag."""
    return FUSED(query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale)[0]
