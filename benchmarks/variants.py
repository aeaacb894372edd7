"""What is compared: one LLM, and the ways for the same m audio tokens to enter it.

All variants of a cell share the parameters of one LLM: each has a module tree of its own over them,
so that nothing has to be attached or detached between two measurements and "text-only" stays the
stock model. Shapes: ids `[B, n]`, audio features `[B, m, D]`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModelForCausalLM,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
)

from benchmarks.shapes import Shape
from pal_plugin.integration import AudioContext, attach, flamingo
from pal_plugin.integration.routing import LLMInputs, RoutedAudio
from pal_plugin.llm.lora import add_lora
from pal_plugin.types import AudioTokens

#: Name on the command line -> what tables and plots call it.
LABELS = {
    "text-only": "text only",
    "plits": "PLITS",
    "lal": "LAL",
    "lal-kept": "LAL (kept)",
    "pal": "PAL",
    "flamingo": "Flamingo-style",
    "qwen2audio": "Qwen2Audio (HF)",
}
FLOOR, BASELINE = "text-only", "plits"
#: Differs from "lal" in the backward pass only.
TRAINING_ONLY = ("lal-kept",)
TUNINGS = ("lora", "full")

_IGNORED = -100
_ENCODER_WIDTH = 8


def speech_tokens(m: int) -> int:
    """How many of PAL's m tokens go by PLITS; the others go by LAL.

    SALMONN's windowed Q-Former makes 88 of 30 seconds of speech; a short clip keeps a quarter.
    """
    return min(88, m // 4)


@dataclass(frozen=True)
class Batch:
    """What every variant is given: nothing is padded.

    Args:
        ids: `[B, n]`.
        features: `[B, m, D]`, in the type of the LLM.
        mask: `[B, m]`, all True.
    """

    ids: Tensor
    features: Tensor
    mask: Tensor

    @classmethod
    def random(
        cls, shape: Shape, rows: int, n: int, m: int, like: Tensor, grad: bool = False
    ) -> Batch:
        """On the device and in the type of `like`. The last id is left to audio placeholders.

        Args:
            grad: whether audio needs a gradient, as it does when a connector is trained.
        """
        ids = torch.randint(shape.vocab - 1, (rows, n), device=like.device)
        features = torch.randn(rows, m, shape.width, device=like.device, dtype=like.dtype)
        mask = torch.ones(rows, m, dtype=torch.bool, device=like.device)
        return cls(ids, features.requires_grad_(grad), mask)


class Routed:
    """One of pal_plugin's integrations, and the floor.

    Args:
        llm: a causal LM, with what the route needs attached.
        route: from the audio tokens to what they are to the LLM.
        prefix: how many audio tokens stand in the text sequence.
        blocks: layers that the route adds to the LLM.
    """

    def __init__(
        self,
        llm: nn.Module,
        route: Callable[[AudioTokens], RoutedAudio],
        prefix: int = 0,
        blocks: nn.Module | None = None,
    ) -> None:
        self.llm, self.route, self.prefix, self.blocks = llm, route, prefix, blocks

    def parameters(self) -> Iterator[nn.Parameter]:
        yield from self.llm.parameters()
        if self.blocks is not None:
            yield from self.blocks.parameters()

    def loss(self, batch: Batch) -> Tensor:
        """Cross entropy of the text. No logits are made for audio positions."""
        hidden = self.hidden(batch)[:, -batch.ids.shape[1] :]
        logits = self.llm.get_output_embeddings()(hidden)
        labels = F.pad(batch.ids[:, 1:], (0, 1), value=_IGNORED)
        return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states `[B, prefix + n, D]`.

        transformers drops a mask of ones after one look, and the kernel is told to be causal by a
        flag: its fastest path. (Given no mask it looks for packed sequences instead, which in
        version 4 ends in a materialised mask.)
        """
        inputs = self._inputs(batch)
        return self.llm.get_decoder()(
            inputs_embeds=inputs.embeds,
            attention_mask=inputs.mask,
            use_cache=False,
            **inputs.audio_kwargs,
        )[0]

    def prefill_logits(self, batch: Batch) -> Tensor:
        """`[B, 1, V]`: what a prompt is read for."""
        return self.llm.get_output_embeddings()(self.hidden(batch)[:, -1:])

    def generate(self, batch: Batch, new_tokens: int) -> Tensor:
        """Greedy continuation of every row by exactly `new_tokens`."""
        inputs = self._inputs(batch)
        return _greedy(
            self.llm,
            new_tokens,
            inputs_embeds=inputs.embeds,
            attention_mask=inputs.mask,
            **inputs.audio_kwargs,
        )

    def _inputs(self, batch: Batch) -> LLMInputs:
        embeds = self.llm.get_input_embeddings()(batch.ids)
        routed = self.route(AudioTokens(batch.features, batch.mask))
        return routed.with_text(embeds, torch.ones_like(batch.ids))


class Qwen2Audio:
    """What a user would pick instead: transformers' class, called as its processor prepares it.

    Its LLM shares the parameters of all other variants. Its audio encoder is as small as the class
    allows (no layers, width 8, one mel band), so that what is measured is the LLM with m audio
    tokens. It computes logits for all positions, which is how the class is written.
    """

    blocks = None

    def __init__(self, llm: nn.Module, shape: Shape, m: int) -> None:
        self.llm, self.prefix, self.placeholder = llm, m, shape.vocab - 1
        with torch.device("meta"):  # the text LLM that the class makes is replaced
            self.model = Qwen2AudioForConditionalGeneration(
                Qwen2AudioConfig(
                    audio_config={
                        "model_type": "qwen2_audio_encoder",
                        "num_mel_bins": 1,
                        "encoder_layers": 0,
                        "d_model": _ENCODER_WIDTH,
                        "encoder_attention_heads": 1,
                        "encoder_ffn_dim": _ENCODER_WIDTH,
                        "max_source_positions": 2 * m,
                    },
                    text_config=llm.config.to_dict(),
                    audio_token_index=self.placeholder,
                )
            )
        parts = self.model
        if hasattr(self.model, "lm_head"):  # transformers 5 keeps the head apart
            parts = self.model.model
            parts.language_model, self.model.lm_head = llm.get_decoder(), llm.lm_head
        else:
            parts.language_model = llm
        weight = llm.get_input_embeddings().weight
        for part in (parts.audio_tower, parts.multi_modal_projector):
            part.to_empty(device=weight.device).to(weight.dtype)
            for parameter in part.parameters():
                nn.init.normal_(parameter, std=0.02)

    def parameters(self) -> Iterator[nn.Parameter]:
        return self.model.parameters()

    def loss(self, batch: Batch) -> Tensor:
        """The class's own loss; audio positions are ignored by it but have logits."""
        ignored = torch.full_like(batch.mask, _IGNORED, dtype=torch.long)
        labels = torch.cat([ignored, batch.ids], dim=1)
        return self.model(**self._inputs(batch), labels=labels).loss

    def hidden(self, batch: Batch) -> Tensor:
        """Last hidden states `[B, m + n, D]`."""
        return self.llm.get_decoder()(inputs_embeds=self._embeds(batch), use_cache=False)[0]

    def prefill_logits(self, batch: Batch) -> Tensor:
        """`[B, m + n, V]`."""
        return self.model(**self._inputs(batch)).logits

    def generate(self, batch: Batch, new_tokens: int) -> Tensor:
        return _greedy(self.model, new_tokens, **self._inputs(batch))

    def _inputs(self, batch: Batch) -> dict[str, Tensor]:
        if batch.features.is_meta:  # placeholders are found by value, which meta tensors lack
            return {"inputs_embeds": self._embeds(batch)}
        rows, frames = len(batch.ids), 4 * self.prefix  # two strides of 2 lie in front of a token
        placeholders = torch.full_like(batch.mask, self.placeholder, dtype=torch.long)
        ids = torch.cat([placeholders, batch.ids], dim=1)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "input_features": batch.features.new_ones(rows, 1, frames),
            "feature_attention_mask": ids.new_ones(rows, frames),
        }

    def _embeds(self, batch: Batch) -> Tensor:
        return torch.cat([batch.features, self.llm.get_input_embeddings()(batch.ids)], dim=1)


Variant = Routed | Qwen2Audio


def build_llm(
    shape: Shape, device: str, dtype: torch.dtype, tuning: str | None = None
) -> nn.Module:
    """A causal LM with random weights.

    Args:
        device: "meta" makes it without weights.
        tuning: "full" trains all of it, "lora" adapters on its attention; None is for inference.
    """
    with torch.device(device):
        llm = AutoModelForCausalLM.from_config(
            shape.config(), dtype=dtype, attn_implementation="sdpa"
        )
        if tuning == "lora":
            llm = add_lora(llm)
            for parameter in llm.parameters():  # peft does so itself, but for meta tensors
                parameter.data = parameter.data.to(dtype)
    return llm.requires_grad_(False).eval() if tuning is None else llm.train()


def build_variants(names: list[str], llm: nn.Module, shape: Shape, m: int) -> dict[str, Variant]:
    """The named variants over the parameters of `llm`, for m audio tokens.

    Raises:
        ValueError: an unknown name.
    """
    speech = speech_tokens(m)

    def by_both(tokens: AudioTokens) -> RoutedAudio:
        first, rest = (
            AudioTokens(tokens.features[:, part], tokens.mask[:, part])
            for part in (slice(speech), slice(speech, None))
        )
        return RoutedAudio(prefix=first, audio=AudioContext.from_tokens(rest))

    def by_lal(tokens: AudioTokens) -> RoutedAudio:
        return RoutedAudio(audio=AudioContext.from_tokens(tokens))

    def by_cross_attention(tokens: AudioTokens) -> RoutedAudio:
        return RoutedAudio(cross_audio=AudioContext.from_tokens(tokens))

    def make(name: str) -> Variant:
        own = _same_parameters(llm)
        match name:
            case "text-only":
                return Routed(own, lambda _: RoutedAudio())
            case "plits":
                return Routed(own, lambda tokens: RoutedAudio(prefix=tokens), prefix=m)
            case "lal":
                return Routed(attach(own, checkpoint_kv=True), by_lal)
            case "lal-kept":
                return Routed(attach(own, checkpoint_kv=False), by_lal)
            case "pal":
                return Routed(attach(own, checkpoint_kv=True), by_both, prefix=speech)
            case "flamingo":
                blocks = flamingo.attach(own, every=4)
                return Routed(own, by_cross_attention, blocks=blocks)
            case "qwen2audio":
                return Qwen2Audio(own, shape, m)
        raise ValueError(f"unknown variant {name!r}; known: {', '.join(LABELS)}")

    return {name: make(name) for name in names}


def trainable(variants: dict[str, Variant]) -> list[nn.Parameter]:
    """Every parameter that one of them trains, once."""
    found = (p for v in variants.values() for p in v.parameters() if p.requires_grad)
    return list(dict.fromkeys(found))


def _same_parameters(llm: nn.Module) -> nn.Module:
    """A copy of the modules that holds the very same parameters and buffers."""
    kept = {id(t): t for t in (*llm.parameters(), *llm.buffers())}
    return copy.deepcopy(llm, kept)


def _greedy(model: nn.Module, new_tokens: int, **inputs) -> Tensor:
    return model.generate(
        **inputs, max_new_tokens=new_tokens, do_sample=False, eos_token_id=None, pad_token_id=0
    )
