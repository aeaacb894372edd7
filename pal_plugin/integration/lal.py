"""LAL: audio enters every decoder layer as attention keys and values, and nothing else.

For layer l with input norm N, rotary embedding R and (where the family has them) key norms K_n
(PAL paper, arXiv 2506.10423, section "LAL"):

    q_i = R(p_i) W_Q N(h_i)                            text rows only
    k_j = R(p_j) K_n(W_K N([H; h]_j)),  v_j = W_V N([H; h]_j)
    a_i = softmax_j(q_i . k_j / sqrt(d)) v_j           j over all valid audio and text j <= i

H is the same at every layer; audio makes no queries and never enters an FFN. The LLM's own W_K and
W_V (with their LoRA) project it, so there are no new weights inside the LLM.

The one design choice: `attach` registers an attention function with transformers and the audio
travels as a keyword argument through the model's own forward. The audio's K/V are computed inside
the layer, when it runs: LoRA, gradient checkpointing and sharding then see an ordinary layer. Audio
positions are -m..-1 and text starts at 0, which rotary embeddings make the same function as audio
0..m-1 and text from m, and which leaves positions, caches and `generate` of the LLM untouched.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from types import MethodType

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from pal_plugin.types import AudioTokens

#: Model types whose decoder layers are `input_layernorm -> self_attn(q_proj, k_proj, v_proj)`.
FAMILIES = ("llama", "mistral", "qwen2")
#: Attention implementations that LAL extends, and the names it registers for them.
BACKENDS = {"eager": "pal_eager", "sdpa": "pal_sdpa"}


@dataclass(frozen=True)
class AudioContext:
    """What a decoder layer may attend to besides the text.

    Args:
        features: `[B, m, D]` audio tokens in the width of the LLM.
        mask: `[B, m]` bool, True where a token is valid. m may differ per sample through it.
        layers: decoder layers that see the audio; None means all of them.
        kv: K/V by layer, kept between decoding steps; None (training) computes them every time.
    """

    features: Tensor
    mask: Tensor
    layers: frozenset[int] | None = None
    kv: dict[int, tuple[Tensor, Tensor]] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        AudioTokens(self.features, self.mask)  # one place checks shapes
        if self.layers is not None:
            object.__setattr__(self, "layers", frozenset(self.layers))

    @classmethod
    def from_tokens(cls, tokens: AudioTokens, layers: tuple[int, ...] | None = None):
        return cls(tokens.features, tokens.mask, None if layers is None else frozenset(layers))

    def remembering(self) -> AudioContext:
        """A copy that keeps its K/V: for one `generate`, where the weights stand still."""
        return AudioContext(self.features, self.mask, self.layers, kv={})

    @property
    def positions(self) -> Tensor:
        """`[B, m]`, -count..-1 over the valid tokens of each sample."""
        valid = self.mask.long()
        return valid.cumsum(-1) - 1 - valid.sum(-1, keepdim=True)


@dataclass(frozen=True)
class _Site:
    """What an attention module needs to project audio; not a Module, so no key changes."""

    norm: nn.Module
    rotary: nn.Module


def attach(llm: nn.Module) -> nn.Module:
    """Let `llm(..., audio=AudioContext)` and `llm.generate(..., audio=AudioContext)` hear.

    Works in place and returns `llm`. Without `audio` nothing changes: outputs are bit-identical and
    the state dict keeps its keys. Attaching twice is harmless; `detach` undoes it.

    Args:
        llm: a causal LM of transformers, plain or with LoRA injected.

    Raises:
        TypeError: the architecture or the attention implementation is not supported.
    """
    config = llm.config
    if config._attn_implementation in BACKENDS.values():
        return llm
    if config.model_type not in FAMILIES:
        raise TypeError(
            f"LAL knows the decoder layers of {', '.join(FAMILIES)}; got {config.model_type!r}. "
            "It needs an input norm, k_proj and v_proj per layer and one rotary embedding."
        )
    if config._attn_implementation not in BACKENDS:
        raise TypeError(
            f"LAL extends the attention implementations {', '.join(BACKENDS)}; the LLM uses "
            f"{config._attn_implementation!r}. Load it with attn_implementation='sdpa'."
        )
    decoder = llm.get_decoder()
    for layer in decoder.layers:
        layer.self_attn._lal = _Site(layer.input_layernorm, decoder.rotary_emb)
    config._attn_implementation = BACKENDS[config._attn_implementation]
    llm._lal_hook = llm.register_forward_pre_hook(_count_valid_positions, with_kwargs=True)
    prepare = _preparing_audio(type(llm).prepare_inputs_for_generation)
    llm.prepare_inputs_for_generation = MethodType(prepare, llm)
    llm.generate = MethodType(_generate, llm)
    return llm


def detach(llm: nn.Module) -> nn.Module:
    """Undo `attach`; harmless where nothing is attached."""
    names = {ours: theirs for theirs, ours in BACKENDS.items()}
    if llm.config._attn_implementation not in names:
        return llm
    llm.config._attn_implementation = names[llm.config._attn_implementation]
    for layer in llm.get_decoder().layers:
        del layer.self_attn._lal
    llm._lal_hook.remove()
    del llm._lal_hook, llm.__dict__["prepare_inputs_for_generation"], llm.__dict__["generate"]
    return llm


def audio_keys_values(attention: nn.Module, audio: AudioContext, like: Tensor):
    """K and V of the audio in one layer, `[B, key heads, m, head size]` each.

    Modules are called, not their weights: LoRA and sharding live in the modules.
    """
    site: _Site = attention._lal
    # Padded rows may hold anything, even NaN, which a masked softmax would still spread.
    hidden = torch.where(audio.mask[..., None], audio.features, 0).to(like.dtype)
    hidden = site.norm(hidden)
    heads = (*hidden.shape[:-1], -1, attention.head_dim)
    key = attention.k_proj(hidden).view(heads).transpose(1, 2)
    value = attention.v_proj(hidden).view(heads).transpose(1, 2)
    cos, sin = site.rotary(hidden, audio.positions)
    key, _ = _modeling(attention).apply_rotary_pos_emb(key, key, cos, sin)
    return key, value


def _modeling(attention: nn.Module):
    return sys.modules[type(attention).__module__]


def _remembered_keys_values(attention: nn.Module, audio: AudioContext, query: Tensor):
    """K/V for the rows of `query`: computed once per `generate`, expanded for beams."""
    layer, rows = attention.layer_idx, query.shape[0]
    pair = audio.kv.get(layer) if audio.kv is not None else None
    if pair is None:
        pair = audio_keys_values(attention, audio, query)
        if pair[0].shape[0] != rows:
            pair = tuple(_expand_rows(t, rows) for t in pair)
        if audio.kv is not None:
            audio.kv[layer] = pair
    elif pair[0].shape[0] != rows:
        pair = tuple(_expand_rows(t, rows) for t in pair)
    return pair


def _expand_rows(tensor: Tensor, rows: int) -> Tensor:
    """Beams, return sequences and candidates repeat each sample in place."""
    batch = tensor.shape[0]
    if rows % batch:
        raise ValueError(
            f"the audio has {batch} samples and the text {rows} rows; expected the same number "
            "or a multiple (beams, several return sequences)"
        )
    return tensor if rows == batch else tensor.repeat_interleave(rows // batch, dim=0)


def _joint_mask(mask: Tensor | None, audio: Tensor, query: Tensor, keys: int) -> Tensor | None:
    """`[B, 1, n, m + keys]`: audio wherever valid, text as the LLM has it.

    Args:
        mask: the LLM's 4-D mask, bool (sdpa) or additive (eager); None means plain causal.
        audio: `[B, m]` bool.
    """
    n = query.shape[2]
    if mask is None:
        if n == 1 and bool(audio.all()):
            return None
        causal = torch.ones(n, keys, dtype=torch.bool, device=query.device).tril(keys - n)
        mask = causal[None, None]
    mask = mask[..., :keys]
    seen = audio[:, None, None, :].expand(-1, mask.shape[1], n, -1)
    if mask.dtype != torch.bool:
        floor = torch.finfo(mask.dtype).min
        seen = torch.zeros_like(seen, dtype=mask.dtype).masked_fill(~seen, floor)
    return torch.cat([seen, mask.expand(audio.shape[0], -1, -1, -1)], dim=-1)


def _attention(
    backend: str,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    audio: AudioContext | None = None,
    **kwargs,
):
    """transformers' attention interface, with audio rows in front of the keys and values."""
    base: Callable = (
        _modeling(module).eager_attention_forward
        if backend == "eager"
        else ALL_ATTENTION_FUNCTIONS[backend]
    )
    if audio is None or (audio.layers is not None and module.layer_idx not in audio.layers):
        return base(module, query, key, value, attention_mask, **kwargs)
    audio_key, audio_value = _remembered_keys_values(module, audio, query)
    mask = _expand_rows(audio.mask, query.shape[0])
    mask = _joint_mask(attention_mask, mask, query, key.shape[2])
    key = torch.cat([audio_key.to(key.dtype), key], dim=2)
    value = torch.cat([audio_value.to(value.dtype), value], dim=2)
    if backend == "sdpa":
        kwargs["is_causal"] = False  # the mask says it all, also when it is None
    return base(module, query, key, value, mask, **kwargs)


def _count_valid_positions(llm: nn.Module, args: tuple, kwargs: dict):
    """Positions of the text count its valid tokens, whichever side is padded."""
    mask = kwargs.get("attention_mask")
    if kwargs.get("audio") is None or kwargs.get("position_ids") is not None or mask is None:
        return None
    text = kwargs.get("inputs_embeds")
    if text is None:
        text = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    return args, {**kwargs, "position_ids": positions[:, -text.shape[1] :]}


def _preparing_audio(stock: Callable) -> Callable:
    """`prepare_inputs_for_generation` with audio in its signature, which `generate` inspects: it
    refuses keyword arguments, and `inputs_embeds`, that are not named there."""

    @functools.wraps(stock)
    def prepare(self, *args, audio: AudioContext | None = None, **kwargs):
        inputs = stock(self, *args, **kwargs)
        return inputs if audio is None else {**inputs, "audio": audio}

    signature = inspect.signature(stock)
    *named, variable = signature.parameters.values()
    extra = inspect.Parameter("audio", inspect.Parameter.KEYWORD_ONLY, default=None)
    prepare.__signature__ = signature.replace(parameters=[*named, extra, variable])
    return prepare


def _generate(self, *args, audio: AudioContext | None = None, **kwargs):
    if audio is not None:
        kwargs["audio"] = audio.remembering()
    return type(self).generate(self, *args, **kwargs)


for _backend, _name in BACKENDS.items():
    AttentionInterface.register(_name, functools.partial(_attention, _backend))
    # Without a mask function of the same name transformers would ignore padding.
    AttentionMaskInterface.register(_name, AttentionMaskInterface()[_backend])
