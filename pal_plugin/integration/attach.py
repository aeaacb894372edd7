"""Attaching LAL to an LLM: what is installed, checked before the layers run, and removed.

The one design choice: an attention function is registered with transformers and the audio travels
as a keyword argument through the model's own forward. The audio's K/V are computed inside the
layer, when it runs: LoRA, gradient checkpointing and sharding then see an ordinary layer.

`lal.py` is what a layer computes; `keys_values.py` and `backends.py` compute it fast, for what
`families.py` knows of the LLM.
"""

from __future__ import annotations

import copy
import functools
import logging

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface

from pal_plugin.attention.attached import LALAttachment, attached, keep, release, unwrapped
from pal_plugin.attention.backends import BACKENDS, hidden, text_only
from pal_plugin.attention.context import AudioContext, rows_per_clip
from pal_plugin.attention.keys_values import cached_keys_values, normed_once
from pal_plugin.attention.layout import text_index, text_of
from pal_plugin.integration import checking, generation, lal
from pal_plugin.llm import families
from pal_plugin.llm.gradient_checkpointing import NonReentrant, refuse_reentrant
from pal_plugin.llm.internals import (
    attention_implementation,
    has_pre_hooks,
    is_offloaded,
    name_implementation,
)


def attach(llm: nn.Module, checkpoint_kv: bool = True, plain: bool = False) -> nn.Module:
    """Make `llm(..., audio=AudioContext)` and `llm.generate(..., audio=AudioContext)` use audio.

    Works in place and returns `llm`. Without `audio` nothing changes: outputs are bit-identical and
    the state dict keeps its keys. Attaching twice is harmless; `detach` undoes it.

    Args:
        llm: a causal LM of transformers: plain, with LoRA injected, or in peft's wrapper. Of a
            multimodal model (Gemma 3, Mistral 3) the text model is attached. An architecture that
            `FAMILIES` does not list is accepted if `check_family` finds it right, on the spot.
        checkpoint_kv: make the input of the audio's projections, N(H), again in the backward pass
            instead of keeping it in every layer (`recompute.py`): most of the activation memory
            that audio takes is spared, for one element-wise product.
        plain: compute audio as the equations of `lal.py` stand there, slowly, in every call; for
            an LLM with eager attention or SDPA.

    Raises:
        TypeError: the architecture or the attention implementation is not supported.

    Reentrant gradient checkpointing loses the audio: to train with audio is then a ValueError.
    """
    model = unwrapped(llm)
    if is_attached(model):
        for _, adapter in attached(model.get_decoder(), "audio").adapters:
            adapter.checkpoint_kv, adapter.plain = checkpoint_kv, plain
        return llm
    if not hasattr(type(model), "prepare_inputs_for_generation"):
        raise TypeError(f"expected a causal LM of transformers, got {type(model).__name__}")
    kind = families.text_config(model).model_type
    family = families.FAMILIES.get(kind) or families.proposed(model)
    _install(model, family, checkpoint_kv, plain)
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
        TypeError: a layer deviates; names it and the deviation.
    """
    model = unwrapped(llm)
    if is_attached(model):
        if family is not None:
            raise ValueError("the LLM is attached with a family already; detach it first")
        return checking.check(model)
    listed = families.FAMILIES.get(families.text_config(model).model_type)
    _install(model, family or listed or families.proposed(model))
    try:
        return checking.check(model)
    finally:
        detach(model)


def _check(model: nn.Module) -> None:
    """`checking.check` of an architecture that is not proven; without weights it is put off until
    audio comes (a plan, or a model that gets its weights later)."""
    decoder, embedding = model.get_decoder(), model.get_input_embeddings()
    if embedding.weight.is_meta and not is_offloaded(embedding):
        attached(decoder, "audio").unchecked = True
        return
    error = checking.check(model)
    logging.info("LAL was checked for %r: right within %.0e", decoder.config.model_type, error)


def _install(
    model: nn.Module, family: families.Family, checkpoint_kv: bool = True, plain: bool = False
) -> None:
    decoder = model.get_decoder()
    adapters = families.layer_adapters(model, family)
    stock = attention_implementation(decoder.config)
    if problem := _refusal(decoder, adapters, stock):
        raise TypeError(problem)
    if plain and stock not in ("eager", "sdpa"):
        raise TypeError(f"plain=True is for attn_implementation='eager' or 'sdpa', not {stock!r}")
    # Only the attention modules learn the new name: for all else, a save or a plain model made
    # from this config included, the implementation is the one that it was loaded with.
    config = copy.copy(decoder.config)
    for attention, adapter in adapters:
        attention.lal_adapter = adapter
        adapter.checkpoint_kv, adapter.plain = checkpoint_kv, plain
    hooks = [decoder.register_forward_pre_hook(_before_the_layers, with_kwargs=True)]
    if model.base_model is not decoder:  # of several modalities, which makes the masks itself
        hooks.append(model.base_model.register_forward_pre_hook(_positioned, with_kwargs=True))
    keep(decoder, "audio", LALAttachment(hooks, adapters, config))
    _follow_implementation(decoder)
    model.gradient_checkpointing_enable = NonReentrant(model)
    generation.accept(model)


def _refusal(decoder: nn.Module, adapters: list, stock: str) -> str | None:
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
    if any(hasattr(attention, "sinks") for attention, _ in adapters) and not BACKENDS[stock].sinks:
        return f"{kind} has attention sinks, which {stock!r} does not count; {instead}"
    if getattr(decoder.config, "is_causal", True) is False:
        return f"this {kind} attends in both directions (config.is_causal); LAL is for causal LMs"
    return None


def _follow_implementation(decoder: nn.Module) -> str | None:
    """Let the attention modules use what the decoder's config names by now; masks are made for
    that. Returns why LAL cannot use it, if it cannot: text alone then is as in stock."""
    stock = attention_implementation(decoder.config)
    record = attached(decoder, "audio")
    problem = None
    if stock != record.stock or stock not in BACKENDS:
        problem = _refusal(decoder, record.adapters, stock)
        if problem is None:
            name_implementation(record.config, BACKENDS[stock].name)
        for attention, _ in record.adapters:
            if hasattr(attention, "config"):  # else it dispatches to none, and ignores audio
                attention.config = decoder.config if problem else record.config
        record.stock = stock if problem is None else None
    return problem


def detach(llm: nn.Module) -> nn.Module:
    """Undo `attach`; harmless where nothing is attached."""
    model = unwrapped(llm)
    if not is_attached(model):
        return llm
    decoder = model.get_decoder()
    for attention, _ in attached(decoder, "audio").adapters:
        if hasattr(attention, "config"):
            attention.config = decoder.config
        del attention.lal_adapter
    release(decoder, "audio")
    del model.__dict__["gradient_checkpointing_enable"]
    generation.refuse(model)
    return llm


def is_attached(llm: nn.Module) -> bool:
    """Whether `attach` was called."""
    return attached(unwrapped(llm).get_decoder(), "audio") is not None


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
    if audio is None or not audio.attends_in(module.layer_idx):
        if audio is not None and backend == "eager" and attention_mask is not None:
            # Stock's own floor would make NaN of rows that see nothing, see `hidden`.
            attention_mask = attention_mask.clamp(min=hidden(attention_mask.dtype))
        return text_only(backend, module)(module, query, key, value, attention_mask, **kwargs)
    audio = audio.at(module.layer_idx)
    if module.lal_adapter.plain:
        return lal.attention(module, query, key, value, attention_mask, audio, **kwargs)
    audio_kv = cached_keys_values(module, audio, query)
    joint = BACKENDS[backend].joint
    return joint(module, query, key, value, attention_mask, audio, audio_kv, **kwargs)


def _before_the_layers(decoder: nn.Module, args: tuple, kwargs: dict):
    """Check the audio once, and let the text's positions count its valid tokens on either side."""
    audio = kwargs.get("audio")
    problem = _follow_implementation(decoder)
    if kwargs.get("cross_audio") is not None and not attached(decoder, "cross_audio"):
        raise ValueError(
            "expected audio= for LAL, got cross_audio=, which only cross attention uses: "
            "call flamingo.attach first"
        )
    if audio is None:
        return None
    if problem:
        raise ValueError(f"the attention implementation was changed after attach. {problem}")
    generation.check_context(audio, "audio", decoder.config.hidden_size)
    record = attached(decoder, "audio")
    if record.unchecked and not audio.features.is_meta:
        record.unchecked = False  # the check comes through here
        try:
            checking.check_layers(decoder)
        except BaseException:
            record.unchecked = True
            raise
    if (audio.kv or audio.clip_kv) and decoder.training and torch.is_grad_enabled():
        raise ValueError(
            "cached audio keys and values carry no gradient; train on the audio itself"
        )
    refuse_reentrant(decoder)
    layers = len(decoder.layers)
    if audio.layers and not 0 <= min(audio.layers) <= max(audio.layers) < layers:
        raise ValueError(f"audio.layers is {sorted(audio.layers)}; the LLM has 0..{layers - 1}")
    args, kwargs = _positioned(decoder, args, kwargs) or (args, kwargs)
    text = text_of(args, kwargs)
    audio = normed_once(decoder, _by_row(decoder, audio, len(text)))
    if audio.places is not None:
        index = text_index(text, kwargs)
        kwargs = {**kwargs, "position_ids": audio.positions_behind(index)}
        audio = audio.seen_from(index)
    return args, {**kwargs, "audio": audio}


def _by_row(decoder: nn.Module, audio: AudioContext, rows: int) -> AudioContext:
    """One clip for each text row, where peft may project each row by an adapter of its own."""
    modules = families.projections(*attached(decoder, "audio").adapters[0])
    variants = [v for m in modules for v in getattr(m, "lora_variant", {}).values()]
    if any(type(variant).__name__.startswith("ALora") for variant in variants):
        raise ValueError(
            "aLoRA changes the tokens behind its invocation, and audio is in front of the text: "
            "merge or disable the adapter, or use LoRA"
        )
    if rows == len(audio) or not any(map(has_pre_hooks, modules)):
        return audio
    index = torch.arange(len(audio), device=audio.mask.device)
    return audio.select(index.repeat_interleave(rows_per_clip(len(audio), rows)))


def _positioned(module: nn.Module, args: tuple, kwargs: dict):
    """Positions that count the valid tokens of the text, where nobody gave any."""
    mask = kwargs.get("attention_mask")
    if kwargs.get("audio") is None or kwargs.get("position_ids") is not None:
        return None
    if not isinstance(mask, Tensor) or mask.dim() != 2:
        return None
    return args, {**kwargs, "position_ids": text_index(text_of(args, kwargs), kwargs)}


for _stock, _backend in BACKENDS.items():
    AttentionInterface.register(_backend.name, functools.partial(_attention, _stock))
    # Without a mask function of the same name transformers would ignore padding.
    AttentionMaskInterface.register(_backend.name, AttentionMaskInterface()[_stock])
