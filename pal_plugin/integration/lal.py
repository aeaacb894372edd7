"""LAL: audio enters every decoder layer as attention keys and values, and nothing else.

For layer l with input norm N, rotary embedding R and (where the family has them) query and key
norms Q_n and K_n (PAL paper, arXiv 2506.10423, section "LAL"):

    q_i = R(p_i) Q_n(W_Q N(h_i))                       text rows only
    k_j = R(p_j) K_n(W_K N([H; h]_j)),  v_j = W_V N([H; h]_j)
    a_i = softmax_j(q_i . k_j / sqrt(d)) v_j           j over valid audio and text up to i

H is the same at every layer; audio makes no queries and never enters an FFN. The LLM's own W_K and
W_V project it. Not in the paper: a gain per layer, N(H) -> g_l N(H), lets audio begin quietly
(docs/lal.md). `attach(llm, plain=True)` runs what is here, and the fast way is compared with it.
The layer itself makes q, k and v of the text; here is the audio's part and the attention over both.

R text rows, B clips (R is a multiple of B), H query and G key heads of size d, n queries, t text
keys, m audio tokens, D the LLM's width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pal_plugin.attention.context import AudioContext

#: Added to the score of what is not seen; not -inf, so that a row that sees nothing is no NaN.
_UNSEEN = torch.finfo(torch.float32).min / 2


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    audio: AudioContext,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    **_,
) -> tuple[Tensor, Tensor]:
    """Attention of one layer over audio and text, as transformers calls it.

    Args:
        module, query, key, value: of the text, rotated: `[R, H, n, d]`, `[R, G, t, d]` twice.
        mask: of the text as eager attention and SDPA have it; None: each row sees up to itself.

    Returns:
        What is attended to `[R, n, H, d]`, and the weights `[R, H, n, m + t]`.
    """
    gain = None if audio.gains is None else audio.gains[module.layer_idx][:, None]
    features = audio.features.to(query.dtype)  # [B, m, D]
    kv = keys_values(module, features, audio.positions, gain)  # [B, G, m, d] twice
    rows = len(query) // len(features)  # per clip
    k_audio, v_audio, seen = (x.repeat_interleave(rows, 0) for x in (*kv, audio.mask[:, None]))
    if audio.places is not None:  # audio among the text is seen by what is behind it
        places = audio.places.repeat_interleave(rows, 0)[:, None]  # [R, 1, m]
        seen = seen & (places <= audio.cache.index[..., None])  # [R, n, m]
    k = torch.cat([k_audio.to(key.dtype), key], 2)  # [R, G, m + t, d]
    v = torch.cat([v_audio.to(value.dtype), value], 2)
    n, t = query.shape[2], key.shape[2]
    text = _text_bias(mask, n, t, query).expand(len(query), 1, n, t)
    over_audio = torch.where(seen, 0.0, _UNSEEN)[:, None].expand(-1, 1, n, -1)
    bias = torch.cat([over_audio, text], 3)  # [R, 1, n, m + t]
    weights = _weights(query, k, bias, scaling, softcap, getattr(module, "sinks", None))
    weights = nn.functional.dropout(weights, dropout, module.training)
    attended = weights @ v.repeat_interleave(query.shape[1] // v.shape[1], 1)  # [R, H, n, d]
    return attended.transpose(1, 2).contiguous(), weights


def keys_values(
    module: nn.Module, features: Tensor, positions: Tensor, gain: Tensor | None
) -> tuple[Tensor, Tensor]:
    """k and v of the audio H in one layer, `[B, G, m, d]` each.

    Args:
        features: H, `[B, m, D]`.
        positions: `[B or 1, m]`, as `attention/layout.py` counts them.
        gain: g_l, `[m, 1]`, or None.
    """
    layer, size = module.lal_adapter, module.head_dim  # what the family calls its parts; d
    normed = features if layer.norm is None else layer.norm(features)  # N(H)
    if gain is not None:
        normed = normed * gain.to(normed.dtype)
    if layer.family.fused:
        width = module.num_key_value_heads * size
        k, v = module.qkv_proj(normed)[..., -2 * width :].chunk(2, -1)  # [B, m, G d]
    else:
        k, v = module.k_proj(normed), module.v_proj(normed)
    if layer.family.key_norm == "width":
        k = module.k_norm(k)
    k, v = (x.unflatten(-1, (-1, size)).transpose(1, 2) for x in (k, v))  # [B, G, m, d]
    if layer.family.key_norm == "head":
        k = module.k_norm(k)
    if layer.rotary is not None:
        cos, sin = layer.rotary(features, positions, *layer.rotary_args)
        k = layer.rotate(k, k, cos, sin)[1]  # R(p_j); the function turns queries and keys
    return k, v


def _weights(q, k, bias, scaling, softcap, sinks) -> Tensor:
    """softmax_j(q_i . k_j / sqrt(d)), `[R, H, n, m + t]`."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)  # a key head serves several query heads
    scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = scores if softcap is None else softcap * torch.tanh(scores / softcap)
    scores = scores.float() + bias
    if sinks is not None:  # takes its share of the weight and gives nothing (gpt-oss)
        sinks = sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], 3)
    return scores.softmax(-1)[..., : k.shape[2]].to(q.dtype)


def _text_bias(mask: Tensor | None, n: int, t: int, like: Tensor) -> Tensor:
    """The text's own mask as something to add, `[R or 1, 1, n, t]`."""
    if mask is None:  # n queries and more keys: a static cache at prefill, whose rest is empty
        mask = torch.ones(n, t, dtype=torch.bool, device=like.device)
        mask = mask[None, None] if n == 1 else mask.tril()[None, None]
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, _UNSEEN)
    return mask[..., :t].clamp(min=_UNSEEN)
