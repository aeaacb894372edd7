"""How much of the attention each token of an answer puts on each audio token.

Attention weights show where values were read, not what caused an answer: what is read may not
matter, and what matters may have come earlier, through other tokens (arXiv 1902.10186). To see what
an answer depends on, change the audio and compare.

Cost: one pass over prompt and answer with dense attention, of which one layer's weights are held at
a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pal_plugin.integration.routing import ClipPlaces, LLMInputs, Route, groups_by, route
from pal_plugin.llm.internals import attention_implementation, name_implementation
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.conversations import Conversations, gather
from pal_plugin.models.token_times import encode_with_times
from pal_plugin.types import AudioTokens, runs_of

#: What is written into the columns of audio tokens in place of features.
_START, _END, _CLIP, _WAY, _IS_AUDIO = range(5)


@dataclass(frozen=True)
class ClipWeights:
    """Attention on the tokens of one group of one clip.

    Args:
        clip: number of the clip in the conversation, from 0; a clip that appears twice counts
            twice.
        group, integration: the tokens' group, and the way that they go ("plits" or "lal").
        layers: the decoder layers that see these tokens.
        seconds: `[m, 2]`, start and end of each token (`token_times.py`).
        weights: `[len(layers), a, m]`, the mean over heads; a tokens of the answer.
    """

    clip: int
    group: str
    integration: str
    layers: tuple[int, ...]
    seconds: Tensor
    weights: Tensor

    @property
    def mean(self) -> Tensor:
        """`[a, m]`, the mean over layers."""
        return self.weights.mean(0)


@dataclass(frozen=True)
class AnswerAttention:
    """Attention of the a tokens of an answer on all audio.

    Args:
        tokens: their texts, with the spaces in front; the end token is not counted.
        parts: the audio tokens, by clip and group. The weights of a layer add up to less than 1:
            the rest lies on the text (and on attention sinks, where a family has them).
    """

    tokens: tuple[str, ...]
    parts: tuple[ClipWeights, ...]

    def words(self) -> list[tuple[str, list[int]]]:
        """The answer's words, with the numbers of the tokens that spell each."""
        found: list[tuple[str, list[int]]] = []
        for number, text in enumerate(self.tokens):
            if not found or text[:1].isspace():
                found.append((text.strip(), [number]))
            else:
                word, numbers = found[-1]
                found[-1] = (word + text, [*numbers, number])
        return found


@torch.no_grad()
def attention_weights(
    model: AudioLLM, messages: Sequence[Mapping[str, Any]], answer: str
) -> AnswerAttention:
    """Attention weights on the audio, for each token of an answer.

    The weights of a token are those with which it was chosen: the query is the token before it.

    Args:
        model: routed by PLITS, LAL or both; no other thread uses it meanwhile.
        messages: as in `model.chat`.
        answer: what the model said, or anything else.

    Raises:
        ValueError: a model that routes by flamingo, whose audio is in no attention over text; an
            empty answer; messages without clips, or as `model.chat`.
    """
    if groups := groups_by("flamingo", model.routing):
        raise ValueError(
            f"the groups {groups} are routed by flamingo, whose cross attention sees audio alone: "
            "its weights are no share of an attention over audio and text. Use a model of PLITS, "
            "LAL or PAL"
        )
    ids = model.text.answer_ids(answer)[:-1]  # without the end token
    if not ids:
        raise ValueError("the answer is empty; expected text")
    read = gather(model.text, [messages], model.audio_place, None, model.device)
    if read.places is None:
        raise ValueError("the messages have no clip, so there is no audio to attend to")
    encoded, times = encode_with_times(model, read.clips)
    samples = {"messages": [messages], "conversations": read, "audio_tokens": encoded}
    inputs = _with_answer(model, model.prompts(samples), ids)
    labels = _Labels.of(model, read, times, encoded)
    by_layer = _weights(model, inputs, len(ids))
    return AnswerAttention(_texts(model, ids), tuple(labels.sorted(by_layer)))


def _with_answer(model: AudioLLM, prompt: LLMInputs, ids: list[int]) -> LLMInputs:
    embeds = model.llm.get_input_embeddings()(torch.tensor([ids], device=model.device))
    mask = torch.nn.functional.pad(prompt.mask, (0, len(ids)), value=1)
    return replace(prompt, embeds=torch.cat([prompt.embeds, embeds], 1), mask=mask)


def _weights(model: AudioLLM, inputs: LLMInputs, count: int) -> list[Tensor]:
    """Mean weights over the heads of each layer, `[a, keys]`: queries before the last `count`
    tokens, keys the audio beside the text (LAL) and then the row."""
    taken: list[Tensor] = []

    def keep(_module: nn.Module, _args: tuple, output: tuple) -> None:
        rows = output[1][0, :, -count - 1 : -1]  # [heads, a, keys]
        taken.append(rows.float().mean(0).cpu())

    hooks = [layer.self_attn.register_forward_hook(keep) for layer in model.decoder.layers]
    try:
        with _dense(model.decoder):
            model.decoder(
                inputs_embeds=inputs.embeds,
                attention_mask=inputs.mask,
                position_ids=inputs.positions,
                use_cache=False,
                **inputs.audio_kwargs,
            )
    finally:
        for hook in hooks:
            hook.remove()
    return taken


@contextmanager
def _dense(decoder: nn.Module) -> Iterator[None]:
    """Attention by its equations, which alone returns weights."""
    before = attention_implementation(decoder.config)
    name_implementation(decoder.config, "eager")
    try:
        yield
    finally:
        name_implementation(decoder.config, before)


def _texts(model: AudioLLM, ids: list[int]) -> tuple[str, ...]:
    """What each id adds to the text."""
    so_far = [model.text.tokenizer.decode(ids[:end]) for end in range(len(ids) + 1)]
    return tuple(now[len(before) :] for before, now in pairwise(so_far))


@dataclass(frozen=True)
class _Labels:
    """Which audio token each key is. Labels are routed and put into rows as features are.

    Args:
        ways: group and route by number.
        routed: inputs whose "features" are labels, `[1, columns, 5]`.
        layers: of the decoder.
    """

    ways: list[tuple[str, Route]]
    routed: LLMInputs
    layers: int

    @classmethod
    def of(
        cls,
        model: AudioLLM,
        read: Conversations,
        times: dict[str, Tensor],
        encoded: dict[str, AudioTokens],
    ) -> _Labels:
        ways = [(group, way) for group in encoded for way in model.routing[group]]
        clips = read.places.index[0].cpu()  # a clip that appears twice is there twice
        labels = {
            str(number): _labels(
                times[group][clips], encoded[group].mask.cpu()[clips], way.pool, number
            )
            for number, (group, way) in enumerate(ways)
        }
        routed = route(labels, {str(n): replace(way, pool=1) for n, (_, way) in enumerate(ways)})
        places = ClipPlaces(torch.arange(len(clips))[None], read.places.places.cpu())
        text = torch.zeros(1, len(read.ids[0]), 5)
        mask = torch.ones(1, len(read.ids[0]), dtype=torch.long)
        inputs = routed.with_text(text, mask, side="left", clips=places)
        return cls(ways, inputs, len(model.decoder.layers))

    def at(self, layer: int, keys: int) -> Tensor:
        """Labels of a layer's keys, `[keys, 5]`; the answer's tokens have none."""
        row, audio = self.routed.embeds[0], self.routed.audio
        parts = [row, row.new_zeros(keys - len(row), 5)]
        if audio is not None and audio.attends_in(layer):
            part = audio.at(layer).features[0]
            parts = [part, row, row.new_zeros(keys - len(row) - len(part), 5)]
        return torch.cat(parts)

    def sorted(self, by_layer: list[Tensor]) -> Iterator[ClipWeights]:
        """The layers' weights `[a, keys]` by clip and way."""
        labels = [self.at(layer, weights.shape[1]) for layer, weights in enumerate(by_layer)]
        everything = torch.cat(labels)
        heard = everything[everything[:, _IS_AUDIO] > 0][:, [_CLIP, _WAY]].unique(dim=0)
        for clip, number in heard.int().tolist():
            group, way = self.ways[number]
            layers = range(self.layers) if way.layers is None else way.layers
            chosen = [
                (of[:, _IS_AUDIO] > 0) & (of[:, _CLIP] == clip) & (of[:, _WAY] == number)
                for of in labels
            ]
            seconds = labels[layers[0]][chosen[layers[0]]][:, [_START, _END]]
            weights = torch.stack([by_layer[layer][:, chosen[layer]] for layer in layers])
            yield ClipWeights(clip, group, way.integration, tuple(layers), seconds, weights)


def _labels(times: Tensor, mask: Tensor, pool: int, number: int) -> AudioTokens:
    """Labels of a group's tokens, pooled as their features are."""
    runs, valid = runs_of(times, pool), runs_of(mask, pool)
    start = torch.where(valid, runs[..., 0], torch.inf).amin(2)
    end = torch.where(valid, runs[..., 1], -torch.inf).amax(2)
    clip = torch.arange(len(times)).float()[:, None].expand_as(start)
    labels = [start, end, clip, torch.full_like(start, number), torch.ones_like(start)]
    return AudioTokens(torch.stack(labels, -1), valid.any(-1))
