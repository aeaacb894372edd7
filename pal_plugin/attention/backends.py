"""Attention over audio and text for each of transformers' attention implementations.

Each function takes what transformers gives an attention function, and the layer's audio keys and
values on top; audio precedes the text and every text row attends to all of it. Shapes: R text
rows, B clips (R is a multiple of B), H query and Hk key heads, n queries, k text keys, m audio
tokens, d head size; queries `[R, H, n, d]`, keys and values `[R, Hk, k, d]`, audio `[B, Hk, m, d]`;
the result is `[R, n, H, d]` and the weights, or None.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.backends.cuda import SDPAParams, can_use_flash_attention
from torch.nn.attention.bias import causal_lower_right
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from pal_plugin.attention.context import AudioContext, repeat_rows, rows_per_clip
from pal_plugin.attention.recompute import computes_in

#: Up to so many queries (one for plain decoding, a few for prompt lookup) and without gradients the
#: scores are smaller than the keys and values, and are what is concatenated.
FEW_QUERIES = 16


def eager(module, query, key, value, mask, audio, audio_kv, **kwargs):
    """Dense attention with weights; the only backend that returns attention weights."""
    mask, key, value = _without_empty_slots(mask, query, key, value)
    mask = _joint_mask(mask, audio, query, key.shape[2])
    key, value = _behind(audio_kv, key, value)
    return stock_eager(module)(module, query, key, value, mask, **kwargs)


def sdpa(module, query, key, value, mask, audio, audio_kv, dropout=0.0, scaling=None, **kwargs):
    """torch's fused attention.

    Where nothing is padded and a GPU's flash kernel can be used no mask is made. Elsewhere one
    additive mask serves all layers, and grouped queries are folded into the query length, which
    spares the copies of K and V that transformers makes for each group.
    """
    mask, key, value = _without_empty_slots(mask, query, key, value)
    # Rotation leaves float32 under autocast. Cast here and not by autocast, for which a mask in
    # float32 would be cast too, and its `hidden` to -inf.
    query, key, value = (t.to(computes_in(query)) for t in (query, key, value))
    if query.shape[2] <= FEW_QUERIES and dropout == 0 and not torch.is_grad_enabled():
        return _few_queries(query, key, value, mask, audio, audio_kv, scaling), None
    k = key.shape[2]
    key, value = _behind(audio_kv, key, value)
    n, groups = query.shape[2], query.shape[1] // key.shape[1]
    if mask is None and audio.seen_by_all and _flash_kernel(query, key, value):
        bias = causal_lower_right(n, key.shape[2])
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, bias, dropout, scale=scaling, enable_gqa=groups > 1
        )
    else:
        folded = _fold(query, groups)
        mask = _joint_mask(mask, audio, query, k, groups)
        out = nn.functional.scaled_dot_product_attention(
            folded, key, value, mask, dropout, scale=scaling
        )
        out = out.reshape(query.shape)
    return out.transpose(1, 2).contiguous(), None


def flash(
    module,
    query,
    key,
    value,
    mask,
    audio,
    audio_kv,
    dropout=0.0,
    scaling=None,
    sliding_window=None,
    softcap=None,
    **_,
):
    """FlashAttention-2 through transformers' unpadding; its causal mask is aligned to the end.

    Args:
        mask: `[R, k]`, or None where no text is padded.
    """
    if audio.places is not None:
        raise ValueError(
            "flash_attention_2 takes audio in front of the text only, and here it stands among it; "
            "load the LLM with attn_implementation='sdpa'"
        )
    length = audio_kv[0].shape[2] + key.shape[2]
    if sliding_window is not None and sliding_window < length:
        raise ValueError(
            f"a sliding window of {sliding_window} would hide audio from FlashAttention, which "
            f"counts keys and not text ({length} keys here); load the LLM with "
            "attn_implementation='sdpa'"
        )
    rows = query.shape[0]
    if mask is not None or audio.padded:
        if mask is None:
            mask = audio.mask.new_ones(rows, key.shape[2])
        mask = torch.cat([repeat_rows(audio.mask, rows).to(mask.dtype), mask], dim=-1)
    key, value = _behind(audio_kv, key, value)
    return flash_base(module, query, key, value, mask, dropout, scaling, None, softcap)


def flash_base(
    module,
    query,
    key,
    value,
    mask,
    dropout=0.0,
    scaling=None,
    sliding_window=None,
    softcap=None,
    **kwargs,
):
    """What transformers' `flash_attention_forward` does, which looks the kernel up by our name.

    It calls the private function below, as this does: the public one has no argument for the kernel
    (transformers 4.57 and 5.24).
    """
    from transformers.modeling_flash_attention_utils import _flash_attention_forward

    kwargs.pop("is_causal", None)
    out = _flash_attention_forward(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        mask,
        query_length=query.shape[2],
        is_causal=True,
        dropout=dropout,
        softmax_scale=scaling,
        sliding_window=sliding_window,
        softcap=softcap,
        target_dtype=_half_type(query, module),
        attn_implementation="flash_attention_2",
        **kwargs,
    )
    return out, None


def flex(module, query, key, value, mask, audio, audio_kv, **kwargs):
    """torch's flex attention; the text's block mask is moved behind the audio, once a pass."""
    m, k, rows = audio_kv[0].shape[2], key.shape[2], query.shape[0]
    key, value = _behind(audio_kv, key, value)
    joint = audio.once(
        ("flex", query.shape[2], k, rows),
        lambda: _block_mask(mask, audio, rows, query.shape[2], m, k, query.device),
        owner=mask,
    )
    return ALL_ATTENTION_FUNCTIONS["flex_attention"](module, query, key, value, joint, **kwargs)


@dataclass(frozen=True)
class Backend:
    """One of transformers' attention implementations and its extension.

    Args:
        name: what LAL registers; without the word "flash", on which transformers acts.
        joint: attention over audio and text.
        softcap: whether it applies Gemma 2's soft-capping of scores.
        sinks: whether it counts attention sinks (gpt-oss).
    """

    name: str
    joint: Callable
    softcap: bool = True
    sinks: bool = False


BACKENDS = {
    "eager": Backend("pal_eager", eager, sinks=True),
    "sdpa": Backend("pal_sdpa", sdpa, softcap=False),
    "flash_attention_2": Backend("pal_fa2", flash),
    "flex_attention": Backend("pal_flex", flex, sinks=True),
}


def text_only(backend: str, module: nn.Module) -> Callable:
    """transformers' own function, for a layer without audio."""
    if backend == "eager":
        return stock_eager(module)
    return flash_base if backend == "flash_attention_2" else ALL_ATTENTION_FUNCTIONS[backend]


def stock_eager(module: nn.Module) -> Callable:
    """The eager attention of an attention module's own file: it has the family's peculiarities."""
    return sys.modules[type(module).__module__].eager_attention_forward


def _behind(audio_kv: tuple[Tensor, Tensor], key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Text keys and values behind those of the audio, `[R, Hk, m + k, d]`."""
    rows = key.shape[0]
    joined = [
        torch.cat([repeat_rows(audio, rows).to(text.dtype), text], dim=2)
        for audio, text in zip(audio_kv, (key, value), strict=True)
    ]
    return joined[0], joined[1]


def _without_empty_slots(mask: Tensor | None, query: Tensor, key: Tensor, value: Tensor):
    """No mask, several queries and more keys: a static cache at prefill, whose rest is empty."""
    n = query.shape[2]
    if mask is None and 1 < n < key.shape[2]:
        return None, key[:, :, :n], value[:, :, :n]
    if mask is not None and mask.shape[-1] > key.shape[2]:
        mask = mask[..., : key.shape[2]]
    return mask, key, value


def _joint_mask(
    mask: Tensor | None, audio: AudioContext, query: Tensor, k: int, groups: int = 1
) -> Tensor:
    """`[R or 1, 1, groups * n, m + k]` in the type of the query: 0 where seen, else `hidden`.
    Made once for all layers, and repeated for queries that are folded (`_fold`).

    Args:
        mask: the LLM's 4-D mask, bool (sdpa) or additive (eager); None means plain causal.
        query: `[R, H, n, d]`, before it is folded.
    """
    key = ("mask", len(query), query.shape[2], k, groups, query.dtype)
    return audio.once(
        key, lambda: _additive(mask, audio, query, k).repeat(1, 1, groups, 1), owner=mask
    )


def hidden(dtype: torch.dtype) -> float:
    """What a mask adds where nothing is to be seen: half of the type's smallest number.

    Not -inf, so that a row that sees nothing (padding) is no NaN; and not the smallest number,
    below which a negative score would fall to -inf all the same, in float16 within reach.
    """
    return torch.finfo(dtype).min / 2


def _additive(mask: Tensor | None, audio: AudioContext, query: Tensor, k: int) -> Tensor:
    """`_joint_mask` for one group."""
    rows, _, n, _ = query.shape
    floor = hidden(query.dtype)
    if mask is None:
        mask = torch.ones(n, k, dtype=torch.bool, device=query.device).tril(k - n)[None, None]
    if mask.dtype == torch.bool:
        mask = torch.zeros_like(mask, dtype=query.dtype).masked_fill(~mask, floor)
    else:
        mask = mask.clamp(min=floor)
    if not audio.seen_by_all:
        visible = audio.visible(rows)[:, None]
        over_audio = torch.zeros_like(visible, dtype=query.dtype).masked_fill(~visible, floor)
        mask = mask.expand(rows, -1, -1, -1)
    else:
        over_audio = query.new_zeros(mask.shape[0], 1, 1, audio.mask.shape[1])
    return torch.cat([over_audio.expand(-1, -1, n, -1), mask], dim=-1)


def _fold(query: Tensor, groups: int) -> Tensor:
    """`[R, Hk * groups, n, d]` -> `[R, Hk, groups * n, d]`: queries of one key head in a row."""
    return query.unflatten(1, (-1, groups)).flatten(2, 3)


def _few_queries(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    audio: AudioContext,
    audio_kv: tuple[Tensor, Tensor],
    scaling: float | None,
) -> Tensor:
    """Attention of a decoding step without a copy of K and V: scores are joined instead.

    Rows that ask about the same clip are folded into its query length, so that its K and V stand
    in memory once, whatever the number of questions or beams.
    """
    rows, _, n, size = query.shape
    heads, groups = key.shape[1], query.shape[1] // key.shape[1]
    audio_key, audio_value = (t.to(query.dtype) for t in audio_kv)
    clips, m = len(audio_key), audio_key.shape[2]
    shared = rows_per_clip(clips, rows)
    folded = _fold(query, groups) * (size**-0.5 if scaling is None else scaling)

    def by_clip(x: Tensor) -> Tensor:  # [R, Hk, g n, .] -> [B, Hk, shared g n, .]
        return x.unflatten(0, (clips, shared)).transpose(1, 2).flatten(2, 3)

    def by_row(x: Tensor) -> Tensor:
        return x.unflatten(2, (shared, groups * n)).transpose(1, 2).flatten(0, 1)

    scores = torch.cat(
        [by_row(by_clip(folded) @ audio_key.transpose(2, 3)), folded @ key.transpose(2, 3)], dim=-1
    )
    if mask is not None or not audio.seen_by_all or n > 1:
        joint = _joint_mask(mask, audio, query, key.shape[2], groups)
        floor = hidden(joint.dtype)
        scores = torch.where(joint > floor, scores + joint, floor)
    weights = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    out = by_row(by_clip(weights[..., :m]) @ audio_value) + weights[..., m:] @ value
    return out.reshape(rows, heads * groups, n, size).transpose(1, 2).contiguous()


def _flash_kernel(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether torch's flash kernel takes these: on a GPU, in half precision, of a size it knows."""
    if not query.is_cuda:
        return False
    grouped = query.shape[1] != key.shape[1]
    return can_use_flash_attention(SDPAParams(query, key, value, None, 0.0, False, grouped))


def _half_type(query: Tensor, module: nn.Module) -> torch.dtype | None:
    """FlashAttention takes half precision only; what float32 queries (by peft, autocast) become."""
    if query.dtype != torch.float32:
        return None
    if torch.is_autocast_enabled(query.device.type):
        return torch.get_autocast_dtype(query.device.type)
    return next(m for m in module.modules() if isinstance(m, nn.Linear)).weight.dtype


def _block_mask(mask, audio: AudioContext, rows: int, n: int, m: int, k: int, device):
    """The joint block mask, looked up in a dense one of `[R, n, m + k]` bools for all layers: torch
    2.11 does not compile the arithmetic of a shifted mask on a CPU."""
    from torch.nn.attention.flex_attention import create_block_mask, create_mask

    if mask is None:
        text = torch.ones(n, k, dtype=torch.bool, device=device).tril(k - n).expand(rows, n, k)
    else:
        text = create_mask(mask.mask_mod, rows, None, n, k, device=device)[:, 0]
    over_audio = audio.visible(rows).expand(-1, n, -1)
    seen = torch.cat([over_audio, text], dim=-1)
    return create_block_mask(
        lambda b, h, q, kv: seen[b, q, kv], rows, None, n, m + k, device=device
    )
