"""LAL from the equations (docstring of `pal_plugin.integration.lal`), slow and differentiable.

Nothing of transformers' attention is used, and no masks or caches: one sample without padding, one
query after the other. Linear layers, norms and FFNs are called as modules, so that LoRA counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

GEMMA = ("gemma", "gemma2", "gemma3_text")
SANDWICHED = ("gemma2", "gemma3_text")
GRANITE = ("granite", "granitemoe")


def lal_logits(
    llm: nn.Module,
    ids: Tensor,
    audio: Tensor,
    layers: Collection[int] | None = None,
    columns: Callable[[int], list[int]] | None = None,
    gains: Tensor | None = None,
    places: Sequence[int] | None = None,
) -> Tensor:
    """Logits `[n, V]` of a text `ids` (Long `[n]`) that hears `audio` `[m, D]`.

    Args:
        llm: a causal LM of one of the families, plain or in peft's wrapper.
        layers: those that hear; None means all.
        columns: the audio tokens that a layer hears, by its index; None: all of them.
        gains: `[L, m]`, by which each layer multiplies the norm's output for the audio.
        places: how many tokens of the text precede each audio token; None: none.
    """
    if hasattr(llm, "get_base_model"):
        llm = llm.get_base_model()
    config, decoder = llm.config, llm.model
    family = config.model_type
    h = nn.functional.embedding(ids, decoder.embed_tokens.weight)
    if family in GEMMA:
        h = h * config.hidden_size**0.5
    if family in GRANITE:
        h = h * config.embedding_multiplier
    residual = config.residual_multiplier if family in GRANITE else 1
    for index, layer in enumerate(decoder.layers):
        heard = audio if layers is None or index in layers else audio[:0]
        chosen = range(len(heard)) if columns is None else columns(index)
        gain = torch.ones(len(heard)) if gains is None else gains[index][: len(heard)]
        where = [0] * len(heard) if places is None else places
        a = _attention(config, decoder, index, heard, h, chosen, gain, where)
        if family in SANDWICHED:
            h = h + layer.post_attention_layernorm(a)
            ffn = layer.mlp(layer.pre_feedforward_layernorm(h))
            h = h + layer.post_feedforward_layernorm(ffn)
        elif family == "olmo2":
            h = h + layer.post_attention_layernorm(a)
            h = h + layer.post_feedforward_layernorm(layer.mlp(h))
        else:
            h = h + residual * a
            h = h + residual * _ffn(layer, layer.post_attention_layernorm(h))
    logits = llm.lm_head(decoder.norm(h))
    if family in GRANITE:
        logits = logits / config.logits_scaling
    return _softcapped(logits, getattr(config, "final_logit_softcapping", None))


def _ffn(layer: nn.Module, h: Tensor) -> Tensor:
    """Experts take a batch, and some return their router's scores too."""
    ffn = layer.mlp if hasattr(layer, "mlp") else layer.block_sparse_moe
    out = ffn(h[None])
    return (out[0] if isinstance(out, tuple) else out)[0]


def _attention(
    config,
    decoder: nn.Module,
    index: int,
    audio: Tensor,
    h: Tensor,
    columns: Collection[int],
    gain: Tensor,
    places: Sequence[int],
) -> Tensor:
    """W_O a, before any norm that follows: `[n, D]`."""
    layer = decoder.layers[index]
    attention, family = layer.self_attn, config.model_type
    n, m = len(h), len(audio)
    heads, key_heads = config.num_attention_heads, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads

    both = torch.cat([audio, h])
    if family != "olmo2":
        both = layer.input_layernorm(both)
    both = torch.cat([both[:m] * gain[:, None], both[m:]])
    text = both[m:]
    if family == "phi3":
        q = attention.qkv_proj(text)[:, : heads * size]
        k, v = attention.qkv_proj(both)[:, heads * size :].chunk(2, dim=-1)
    else:
        q, k, v = attention.q_proj(text), attention.k_proj(both), attention.v_proj(both)
    if family == "olmo2":
        q, k = attention.q_norm(q), attention.k_norm(k)
    q = q.reshape(n, heads, size)
    k, v = k.reshape(m + n, key_heads, size), v.reshape(m + n, key_heads, size)
    if family in ("qwen3", "qwen3_moe", "gemma3_text"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    if family != "smollm3" or config.no_rope_layers[index]:
        positions = _positions(places, n)
        q = _rotate(q, positions[m:], *_rotary(config, decoder, index))
        k = _rotate(k, positions, *_rotary(config, decoder, index))
    k, v = (x.repeat_interleave(heads // key_heads, dim=1) for x in (k, v))

    scale = (config.query_pre_attn_scalar if family in SANDWICHED else size) ** -0.5
    if family in GRANITE:
        scale = config.attention_multiplier
    softcap = config.attn_logit_softcapping if family == "gemma2" else None
    window = _window(config, index) or n
    rows = []
    for i in range(n):
        first = max(0, i - window + 1)
        before = [j for j in columns if places[j] <= i]  # audio never leaves the window
        seen = [*before, *range(m + first, m + i + 1)]
        scores = _softcapped(torch.einsum("hd,jhd->hj", q[i], k[seen]) * scale, softcap)
        if family == "gpt_oss":  # a sink takes its share of the weight and gives nothing
            scores = torch.cat([scores, attention.sinks[:, None]], 1)
        weights = scores.softmax(-1)[:, : len(seen)]
        rows.append(torch.einsum("hj,jhd->hd", weights, v[seen]).flatten())
    return attention.o_proj(torch.stack(rows))


def _positions(places: Sequence[int], n: int) -> Tensor:
    """Of m audio tokens and n of text, `[m + n]`: all are counted as they are read."""
    read = []
    for i in range(n + 1):
        read += [j for j, place in enumerate(places) if place == i]
        read += [len(places) + i] if i < n else []
    return torch.tensor(read).argsort()


def _window(config, index: int) -> int | None:
    """How many text tokens, itself included, a token sees in this layer; None means all."""
    if config.model_type in ("mistral", "phi3", "mixtral", "ministral3"):
        return config.sliding_window
    kinds = getattr(config, "layer_types", None)
    sliding = kinds is not None and kinds[index] == "sliding_attention"
    return config.sliding_window if sliding else None


def _rotary(config, decoder: nn.Module, index: int) -> tuple[Tensor, float]:
    """Frequencies `[rotated / 2]` and the factor of cos and sin (yarn)."""
    rotary = decoder.rotary_emb
    if config.model_type == "gemma3_text":  # one base for the windows, one for the full layers
        kind = config.layer_types[index]
        if hasattr(rotary, f"{kind}_inv_freq"):
            scaling = getattr(rotary, f"{kind}_attention_scaling")
            return getattr(rotary, f"{kind}_inv_freq"), scaling
        if kind == "sliding_attention":  # transformers 4
            rotary = decoder.rotary_emb_local
    return rotary.inv_freq, rotary.attention_scaling


def _rotate(x: Tensor, positions: Tensor, frequencies: Tensor, scaling: float) -> Tensor:
    """`[rows, heads, size]`; dimensions behind the rotated ones pass (Phi-3)."""
    angles = positions[:, None] * frequencies
    cos, sin = (scaling * f(angles)[:, None] for f in (torch.cos, torch.sin))
    half = len(frequencies)
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


def _softcapped(x: Tensor, cap: float | None) -> Tensor:
    return x if cap is None else cap * torch.tanh(x / cap)
