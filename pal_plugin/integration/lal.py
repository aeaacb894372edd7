"""LAL: audio enters every decoder layer as attention keys and values, and nothing else.

For layer l with input norm N, rotary embedding R and (where the family has them) query and key
norms Q_n and K_n (PAL paper, arXiv 2506.10423, section "LAL"):

    q_i = R(p_i) Q_n(W_Q N(h_i))                       text rows only
    k_j = R(p_j) K_n(W_K N([H; h]_j)),  v_j = W_V N([H; h]_j)
    a_i = softmax_j(q_i . k_j / sqrt(d)) v_j           j over all valid audio and text j <= i

H is the same at every layer; audio makes no queries and never enters an FFN. The LLM's own W_K and
W_V (with their LoRA) project it, so there are no new weights inside the LLM.

What is not in the paper: N(H) may have a gain of its own in each layer, `N(h_j) -> g_l N(h_j)` for
the audio's j alone (`AudioContext.gains`). A norm brings H to full strength however small it is, so
that an untrained connector is noise at the volume of speech in every layer; with g_l = 0.3 at the
start LAL begins to learn at once (docs/lal.md has the figures). Without gains it is the paper's.

The one design choice: `attach` registers an attention function with transformers and the audio
travels as a keyword argument through the model's own forward. The audio's K/V are computed inside
the layer, when it runs: LoRA, gradient checkpointing and sharding then see an ordinary layer.
`families.py` has what differs between LLMs, `backends.py` what differs between attention kernels.
"""

from __future__ import annotations

import copy
import functools
import logging
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AttentionInterface, AttentionMaskInterface

from pal_plugin.integration import checking, families, generation
from pal_plugin.integration.attached import LALAttachment, attached, keep, release
from pal_plugin.integration.backends import BACKENDS, hidden, text_only
from pal_plugin.integration.context import AudioContext, rows_per_clip
from pal_plugin.integration.generation import unwrapped
from pal_plugin.integration.recompute import computes_in, keeping_no_input, saves_its_input
from pal_plugin.integration.reentrant import NonReentrant, refuse_reentrant

__all__ = [
    "AudioContext",
    "attach",
    "audio_keys_values",
    "check_family",
    "detach",
    "is_attached",
    "precompute",
]


def attach(llm: nn.Module, checkpoint_kv: bool = True) -> nn.Module:
    """Let `llm(..., audio=AudioContext)` and `llm.generate(..., audio=AudioContext)` hear.

    Works in place and returns `llm`. Without `audio` nothing changes: outputs are bit-identical and
    the state dict keeps its keys. Attaching twice is harmless; `detach` undoes it.

    Args:
        llm: a causal LM of transformers: plain, with LoRA injected, or in peft's wrapper. Of a
            multimodal model (Gemma 3, Mistral 3) the text model hears. An architecture that is not
            among those of `FAMILIES` is accepted if `check_family` finds it right, on the spot.
        checkpoint_kv: make the input of the audio's projections, N(H), again in the backward pass
            instead of keeping it in every layer (`recompute.py`): most of the activation memory
            that audio takes is spared, for one element-wise product.

    Raises:
        TypeError: the architecture or the attention implementation is not supported.

    Reentrant gradient checkpointing loses the audio: to train with audio is then a ValueError.
    """
    model = unwrapped(llm)
    if is_attached(model):
        for attention, _ in attached(model.get_decoder(), "audio").sites:
            attention._lal_checkpoint = checkpoint_kv
        return llm
    if not hasattr(type(model), "prepare_inputs_for_generation"):
        raise TypeError(f"expected a causal LM of transformers, got {type(model).__name__}")
    kind = families.text_config(model).model_type
    family = families.FAMILIES.get(kind) or families.proposed(model)
    _install(model, family, checkpoint_kv)
    if kind not in families.PROVEN:
        try:
            _check(model)
        except BaseException:
            detach(model)
            raise
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        model.gradient_checkpointing_enable()
    return llm


def check_family(llm: nn.Module, family: families.Family | None = None) -> float:
    """Whether LAL is right for an architecture, shown on the LLM itself without any reference.

    The stock model on `[H; h]` whose audio rows are set back to H before every layer is LAL by
    definition; every layer is compared with it (`checking.py`).

    Args:
        llm: attached or not; it is left as it came.
        family: the entry to try; None: the one in `FAMILIES`, else what the modules suggest.

    Returns:
        the largest deviation of a layer, relative to what it computes.

    Raises:
        TypeError: it deviates; says where and by how much.
    """
    model = unwrapped(llm)
    if is_attached(model):
        if family is not None:
            raise ValueError("the LLM is attached with a family already; detach it first")
        return checking.check(model)
    listed = families.FAMILIES.get(families.text_config(model).model_type)
    _install(model, family or listed or families.proposed(model), checkpoint_kv=True)
    try:
        return checking.check(model)
    finally:
        detach(model)


def _check(model: nn.Module) -> None:
    """`checking.check` of an architecture that is not proven; without weights it is put off until
    audio comes (a plan, or a model that gets its weights later)."""
    decoder, embedding = model.get_decoder(), model.get_input_embeddings()
    if embedding.weight.is_meta and not families.is_offloaded(embedding):
        attached(decoder, "audio").unchecked = True
        return
    error = checking.check(model)
    logging.info("LAL was checked for %r: right within %.0e", decoder.config.model_type, error)


def _install(model: nn.Module, family: families.Family, checkpoint_kv: bool) -> None:
    decoder = model.get_decoder()
    sites = families.sites(model, family)
    stock = decoder.config._attn_implementation
    if problem := _refusal(decoder, sites, stock):
        raise TypeError(problem)
    # Only the attention modules learn the new name: for all else, a save or a plain model made
    # from this config included, the implementation is the one that it was loaded with.
    config = copy.copy(decoder.config)
    for attention, site in sites:
        attention._lal, attention._lal_checkpoint = site, checkpoint_kv
    hooks = [decoder.register_forward_pre_hook(_before_the_layers, with_kwargs=True)]
    if model.base_model is not decoder:  # of several modalities, which makes the masks itself
        hooks.append(model.base_model.register_forward_pre_hook(_positioned, with_kwargs=True))
    keep(decoder, "audio", LALAttachment(hooks, sites, config))
    _follow_implementation(decoder)
    model.gradient_checkpointing_enable = NonReentrant(model)
    generation.accept(model)


def _refusal(decoder: nn.Module, sites: list, stock: str) -> str | None:
    """Why LAL cannot extend an attention implementation for this LLM, if it cannot."""
    kind = decoder.config.model_type
    instead = "load it with attn_implementation='eager' or 'flex_attention'"
    if stock not in BACKENDS:
        return (
            f"LAL extends the attention implementations {', '.join(BACKENDS)}; the LLM uses "
            f"{stock!r}. Load it with attn_implementation='sdpa'."
        )
    cap = getattr(decoder.config, "attn_logit_softcapping", None)
    if cap and not BACKENDS[stock].softcap:
        return f"{kind} caps its attention scores at {cap}, which {stock!r} does not do; {instead}"
    if any(hasattr(attention, "sinks") for attention, _ in sites) and not BACKENDS[stock].sinks:
        return f"{kind} has attention sinks, which {stock!r} does not count; {instead}"
    if getattr(decoder.config, "is_causal", True) is False:
        return f"this {kind} attends in both directions (config.is_causal); LAL is for causal LMs"
    return None


def _follow_implementation(decoder: nn.Module) -> str | None:
    """Let the attention modules use what the decoder's config names by now; masks are made for
    that. Returns why they cannot hear with it, if they cannot: text alone then is as in stock."""
    stock, lal = decoder.config._attn_implementation, attached(decoder, "audio")
    problem = None
    if stock != lal.stock or stock not in BACKENDS:
        problem = _refusal(decoder, lal.sites, stock)
        if problem is None:
            lal.config._attn_implementation = BACKENDS[stock].name
        for attention, _ in lal.sites:
            if hasattr(attention, "config"):  # else it asks for no implementation, and is deaf
                attention.config = decoder.config if problem else lal.config
        lal.stock = stock if problem is None else None
    return problem


def detach(llm: nn.Module) -> nn.Module:
    """Undo `attach`; harmless where nothing is attached."""
    model = unwrapped(llm)
    if not is_attached(model):
        return llm
    decoder = model.get_decoder()
    for attention, _ in attached(decoder, "audio").sites:
        if hasattr(attention, "config"):
            attention.config = decoder.config
        del attention._lal, attention._lal_checkpoint
    release(decoder, "audio")
    del model.__dict__["gradient_checkpointing_enable"]
    generation.refuse(model)
    return llm


def is_attached(llm: nn.Module) -> bool:
    """Whether `attach` was called."""
    return attached(unwrapped(llm).get_decoder(), "audio") is not None


def audio_keys_values(attention: nn.Module, audio: AudioContext, like: Tensor):
    """K and V of the audio in one layer, `[B, key heads, m, head size]` each.

    Args:
        attention: an attention module of an attached LLM.
        like: a tensor of the type of the LLM's hidden states (under autocast not that of products).
    """
    site: families.Site = attention._lal
    features = audio.features.to(like.dtype)
    table = None
    if site.rotary is not None:
        table = audio.once(
            ("rotary", site.rotary_args, features.dtype),
            lambda: families.rotary_table(site, features, audio.positions),
            owner=site.rotary,
        )
    key, value = _projected(attention, site, audio, features)
    return (key if table is None else families.rotate(site, key, table)), value


def _projected(attention: nn.Module, site: families.Site, audio: AudioContext, features: Tensor):
    """Keys, before the rotary embedding, and values."""
    project = functools.partial(families.project, attention, site)
    recomputes = attention._lal_checkpoint and torch.is_grad_enabled()
    if torch.compiler.is_compiling():  # which decides by itself what it recomputes
        recomputes = False
    projections = families.projections(attention, site)
    if any(module._forward_pre_hooks for module in projections):
        recomputes = False  # peft's for one call (adapter names, tasks), gone in the backward pass
    gain = None if audio.gains is None else audio.gains[attention.layer_idx][:, None]
    if site.norm is None:
        return project(_loud(features, gain))
    if audio.normed is None:
        if recomputes:
            return checkpoint(
                lambda h, g: project(_loud(site.norm(h), g)), features, gain, use_reentrant=False
            )
        return project(_loud(site.norm(features), gain))
    make = functools.partial(families.scale, site, audio.normed, computes_in(features), gain)
    if not recomputes:
        return project(make())
    if all(saves_its_input(module) for module in projections):
        return keeping_no_input(make, project)
    return checkpoint(lambda: project(make()), use_reentrant=False)


def _loud(normed: Tensor, gain: Tensor | None) -> Tensor:
    return normed if gain is None else normed * gain.to(normed.dtype)


@torch.no_grad()
def precompute(llm: nn.Module, audio: AudioContext) -> AudioContext:
    """The same context with the K/V of all its layers, for any number of later calls.

    They depend on the audio and the LLM's weights alone, not on any text (audio stands at -m..-1).
    """
    decoder = unwrapped(llm).get_decoder()
    like = decoder.get_input_embeddings().weight
    normed = _normed_once(decoder, audio)
    kv = {
        index: _in_rows(audio_keys_values(attention, normed.at(index), like))
        for index, (attention, _) in enumerate(attached(decoder, "audio").sites)
        if audio.heard_by(index)
    }
    return replace(audio, kv=kv)


def _remembered(attention: nn.Module, audio: AudioContext, like: Tensor) -> tuple[Tensor, Tensor]:
    """K/V of one layer; computed once where the context keeps them (inference)."""
    if audio.kv is None:
        return audio_keys_values(attention, audio, like)
    if attention.layer_idx not in audio.kv:
        audio.kv[attention.layer_idx] = _in_rows(audio_keys_values(attention, audio, like))
    return audio.kv[attention.layer_idx]


def _in_rows(audio_kv: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Heads as they lie in memory once for all: each decoding step would copy transposed ones."""
    key, value = audio_kv
    return key.contiguous(), value.contiguous()


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
    """transformers' attention interface, with audio in front of the keys and values."""
    if audio is None or not audio.heard_by(module.layer_idx):
        if audio is not None and backend == "eager" and attention_mask is not None:
            # Stock's own floor would make NaN of rows that see nothing, see `hidden`.
            attention_mask = attention_mask.clamp(min=hidden(attention_mask.dtype))
        return text_only(backend, module)(module, query, key, value, attention_mask, **kwargs)
    audio = audio.at(module.layer_idx)
    audio_kv = _remembered(module, audio, query)
    joint = BACKENDS[backend].joint
    return joint(module, query, key, value, attention_mask, audio, audio_kv, **kwargs)


def _before_the_layers(decoder: nn.Module, args: tuple, kwargs: dict):
    """Check the audio once, and let the text's positions count its valid tokens on either side."""
    audio = kwargs.get("audio")
    problem = _follow_implementation(decoder)
    if kwargs.get("cross_audio") is not None and not attached(decoder, "cross_audio"):
        raise ValueError("cross_audio= is heard by cross attention only; see flamingo.attach")
    if audio is None:
        return None
    if problem:
        raise ValueError(f"the attention implementation was changed after attach. {problem}")
    generation.check_context(audio, "audio", decoder.config.hidden_size)
    lal = attached(decoder, "audio")
    if lal.unchecked and not audio.features.is_meta:
        lal.unchecked = False  # the check comes through here
        try:
            checking.check_layers(decoder)
        except BaseException:
            lal.unchecked = True
            raise
    if audio.kv and decoder.training and torch.is_grad_enabled():
        raise ValueError("remembered keys and values carry no gradient; train on the audio itself")
    refuse_reentrant(decoder)
    layers = len(decoder.layers)
    if audio.layers and not 0 <= min(audio.layers) <= max(audio.layers) < layers:
        raise ValueError(f"audio.layers is {sorted(audio.layers)}; the LLM has 0..{layers - 1}")
    args, kwargs = _positioned(decoder, args, kwargs) or (args, kwargs)
    audio = _by_row(decoder, audio, len(_text(args, kwargs)))
    return args, {**kwargs, "audio": _normed_once(decoder, audio)}


def _by_row(decoder: nn.Module, audio: AudioContext, rows: int) -> AudioContext:
    """One clip for each text row, where peft may project each row by an adapter of its own."""
    modules = families.projections(*attached(decoder, "audio").sites[0])
    variants = [v for m in modules for v in getattr(m, "lora_variant", {}).values()]
    if any(type(variant).__name__.startswith("ALora") for variant in variants):
        raise ValueError(
            "aLoRA changes the tokens behind its invocation, and audio is in front of the text: "
            "merge or disable the adapter, or use LoRA"
        )
    if rows == len(audio) or not any(module._forward_pre_hooks for module in modules):
        return audio
    index = torch.arange(len(audio), device=audio.mask.device)
    return audio.select(index.repeat_interleave(rows_per_clip(len(audio), rows)))


def _text(args: tuple, kwargs: dict) -> Tensor:
    """Ids `[R, n]` or embeddings `[R, n, D]` that the decoder is given."""
    text = kwargs.get("inputs_embeds")
    if text is None:
        text = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
    return text


def _positioned(module: nn.Module, args: tuple, kwargs: dict):
    """Positions that count the valid tokens of the text, where nobody gave any."""
    mask = kwargs.get("attention_mask")
    if kwargs.get("audio") is None or kwargs.get("position_ids") is not None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return None
    text = _text(args, kwargs)
    positions = (mask.long().cumsum(-1) - 1).clamp(min=0)
    return args, {**kwargs, "position_ids": positions[:, -text.shape[1] :]}


def _normed_once(decoder: nn.Module, audio: AudioContext) -> AudioContext:
    """The context with what the norms of all layers share, made outside of any layer: there a
    checkpoint would make it again. Not needed where K/V are remembered already."""
    if torch.compiler.is_compiling():  # which finds and fuses the repetition by itself
        return audio
    sites = attached(decoder, "audio").sites
    if audio.kv or not families.norms_are_shared(sites):
        return audio.with_normed(None)
    features = audio.features.to(decoder.get_input_embeddings().weight.dtype)
    return audio.with_normed(families.normalise(sites[0][1], features))


for _stock, _backend in BACKENDS.items():
    AttentionInterface.register(_backend.name, functools.partial(_attention, _stock))
    # Without a mask function of the same name transformers would ignore padding.
    AttentionMaskInterface.register(_backend.name, AttentionMaskInterface()[_stock])
