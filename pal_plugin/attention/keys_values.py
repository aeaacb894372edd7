"""Keys and values of the audio, fast: what `lal.keys_values` computes, with what layers share.

The norms of all layers divide H by the same root mean square, so the quotient is made once; N(H) is
made again in the backward pass instead of being kept in every layer (`recompute.py`); the rotary
table serves all layers; and where the weights stand still, K and V are kept between calls.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pal_plugin.attention.attached import attached, unwrapped
from pal_plugin.attention.context import AudioContext
from pal_plugin.attention.recompute import computes_in, keeping_no_input, saves_its_input
from pal_plugin.llm import families
from pal_plugin.llm.internals import has_pre_hooks


def audio_keys_values(attention: nn.Module, audio: AudioContext, like: Tensor):
    """K and V of the audio in one layer, `[B, key heads, m, head size]` each.

    Args:
        attention: an attention module of an attached LLM.
        like: a tensor of the type of the LLM's hidden states (under autocast not that of products).
    """
    adapter: families.LayerAdapter = attention.lal_adapter
    features = audio.features.to(like.dtype)
    table = None
    if adapter.rotary is not None:
        table = audio.once(
            ("rotary", adapter.rotary_args, features.dtype),
            lambda: families.rotary_table(adapter, features, audio.positions),
            owner=adapter.rotary,
        )
    known = (audio.clip_kv or {}).get(attention.layer_idx)
    key, value = known or _projected(attention, adapter, audio, features)
    return (key if table is None else families.rotate(adapter, key, table)), value


def _projected(
    attention: nn.Module, adapter: families.LayerAdapter, audio: AudioContext, features: Tensor
):
    """Keys, before the rotary embedding, and values."""
    project = functools.partial(families.project, attention, adapter)
    recomputes = adapter.checkpoint_kv and torch.is_grad_enabled()
    if torch.compiler.is_compiling():  # which decides by itself what it recomputes
        recomputes = False
    projections = families.projections(attention, adapter)
    if any(map(has_pre_hooks, projections)):
        recomputes = False  # peft's for one call (adapter names, tasks), gone in the backward pass
    gain = None if audio.gains is None else audio.gains[attention.layer_idx][:, None]
    if adapter.norm is None:
        return project(_with_gain(features, gain))
    normed = None if audio.cache is None else audio.cache.normed
    if normed is None:
        if recomputes:
            return checkpoint(
                lambda h, g: project(_with_gain(adapter.norm(h), g)),
                features,
                gain,
                use_reentrant=False,
            )
        return project(_with_gain(adapter.norm(features), gain))
    make = functools.partial(families.scale, adapter, normed, computes_in(features), gain)
    if not recomputes:
        return project(make())
    if all(saves_its_input(module) for module in projections):
        return keeping_no_input(make, project)
    return checkpoint(lambda: project(make()), use_reentrant=False)


def _with_gain(normed: Tensor, gain: Tensor | None) -> Tensor:
    return normed if gain is None else normed * gain.to(normed.dtype)


@torch.no_grad()
def precompute(llm: nn.Module, audio: AudioContext) -> AudioContext:
    """The same context with the K/V of all its layers (`clip_kv`), for any number of later calls.

    They depend on the audio and the LLM's weights alone, not on any text, nor, before their rotary
    embedding, on where the clip stands.
    """
    decoder = unwrapped(llm).get_decoder()
    normed = normed_once(decoder, audio)
    kind = decoder.get_input_embeddings().weight.dtype
    kv = {}
    for index, (attention, adapter) in enumerate(attached(decoder, "audio").adapters):
        if audio.attends_in(index):
            part = normed.at(index)
            kv[index] = _in_rows(_projected(attention, adapter, part, part.features.to(kind)))
    return replace(audio, clip_kv=kv)


def cached_keys_values(
    attention: nn.Module, audio: AudioContext, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Keys and values of one layer, `[B, key heads, m, head size]` each; computed once where the
    context caches them (inference)."""
    if audio.kv is None:
        return audio_keys_values(attention, audio, like)
    if attention.layer_idx not in audio.kv:
        audio.kv[attention.layer_idx] = _in_rows(audio_keys_values(attention, audio, like))
    return audio.kv[attention.layer_idx]


def _in_rows(audio_kv: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Heads as they lie in memory once for all: each decoding step would copy transposed ones."""
    key, value = audio_kv
    return key.contiguous(), value.contiguous()


def normed_once(decoder: nn.Module, audio: AudioContext) -> AudioContext:
    """The context with what the norms of all layers share, made outside of any layer: there a
    checkpoint would make it again. Not needed where K/V are cached already."""
    if torch.compiler.is_compiling():  # which finds and fuses the repetition by itself
        return audio
    adapters = attached(decoder, "audio").adapters
    if audio.kv or audio.clip_kv or not families.norms_are_shared(adapters):
        return audio.in_pass()
    features = audio.features.to(decoder.get_input_embeddings().weight.dtype)
    return audio.in_pass(families.normalise(adapters[0][1], features))
