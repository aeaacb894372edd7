"""Answers that are generated together: the state of R rows between two steps of the decoder.

Rows are read (prefilled) on their own, and join others at any step: each has its columns of the KV
cache, its positions and its audio's keys and values, and attends to nothing else. So what a row
computes is what it computes alone, up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from pal_plugin.attention import arranging
from pal_plugin.attention.context import AudioContext
from pal_plugin.integration.routing import LLMInputs
from pal_plugin.llm.head import logits_of
from pal_plugin.llm.label_tree import cache_keyword, fork, read_prompt
from pal_plugin.serving import kv_cache


@dataclass(frozen=True, eq=False)
class Rows:
    """R answers after some step.

    Args:
        cache: keys and values of T columns; a row's tokens are the last ones.
        mask: Long `[R, T]`, 1 where a row has a token.
        position: Long `[R]`, of the next token.
        logits: float32 `[R, V]`, of the next token.
        audio, cross_audio: with the K/V of all layers; None: no row has any.
    """

    cache: DynamicCache
    mask: Tensor
    position: Tensor
    logits: Tensor
    audio: AudioContext | None = None
    cross_audio: AudioContext | None = None

    def __len__(self) -> int:
        return len(self.mask)

    @classmethod
    @torch.no_grad()
    def read(cls, llm: nn.Module, prompts: LLMInputs, cache: DynamicCache | None = None) -> Rows:
        """Prefills prompts.

        Args:
            prompts: left-padded; one clip, or conversation's clips, for each row.
            cache: of the first columns of a single prompt, which are not read again; it is filled.
        """
        heard = {name: context.with_kv_cache() for name, context in prompts.audio_kwargs.items()}
        embeds, mask, positions = prompts.embeds, prompts.mask.long(), prompts.positions
        read = read_prompt(llm, embeds, mask, positions, cache, **heard)
        position = read.position
        if (audio := heard.get("audio")) is not None and audio.places is not None:
            position = audio.positions_behind(position[:, None])[:, 0]
        heard = {name: _behind_the_text(context) for name, context in heard.items()}
        return cls(read.cache, mask, position, logits_of(llm, read.hidden[:, 0]), **heard)

    @torch.no_grad()
    def step(self, llm: nn.Module, tokens: Tensor) -> Rows:
        """The rows with one more token each, Long `[R]`; these are left as they are."""
        decoder, cache = llm.get_decoder(), fork(self.cache)
        mask = torch.cat([self.mask, torch.ones_like(self.mask[:, :1])], 1)
        hidden = decoder(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=self.position[:, None],
            use_cache=True,
            **{cache_keyword(decoder): cache},
            **self._heard(),
        ).last_hidden_state[:, 0]
        logits = logits_of(llm, hidden)
        return replace(self, cache=cache, mask=mask, position=self.position + 1, logits=logits)

    @classmethod
    def merged(cls, parts: Sequence[Rows]) -> Rows:
        """The rows of all parts, in their order."""
        if len(parts) == 1:
            return parts[0]
        most = max(part.mask.shape[1] for part in parts)
        masks = [nn.functional.pad(p.mask, (most - p.mask.shape[1], 0)) for p in parts]
        return cls(
            kv_cache.merged([part.cache for part in parts]),
            torch.cat(masks),
            torch.cat([part.position for part in parts]),
            torch.cat([part.logits for part in parts]),
            *(
                _merged([getattr(part, name) for part in parts], list(map(len, parts)))
                for name in ("audio", "cross_audio")
            ),
        )

    def select(self, rows: Sequence[int]) -> Rows:
        """These rows, without columns that none of them has."""
        index = torch.tensor(rows, device=self.mask.device)
        mask = self.mask[index]
        columns = int(mask.sum(1).max())
        return Rows(
            kv_cache.selected(self.cache, index, columns),
            mask[:, mask.shape[1] - columns :],
            self.position[index],
            self.logits[index],
            *(
                None if context is None else _selected(context, index)
                for context in (self.audio, self.cross_audio)
            ),
        )

    def _heard(self) -> dict[str, AudioContext]:
        both = {"audio": self.audio, "cross_audio": self.cross_audio}
        return {name: context for name, context in both.items() if context is not None}


def _behind_the_text(context: AudioContext) -> AudioContext:
    """What the tokens to come attend to: all of the audio, by its K/V alone."""
    kv = {**(context.clip_kv or {}), **context.kv}  # cross attention uses those of a clip as is
    return replace(context, kv=kv, clip_kv=None, gains=None, places=None)


def _merged(parts: Sequence[AudioContext | None], rows: Sequence[int]) -> AudioContext | None:
    like = next((part for part in parts if part is not None), None)
    if like is None:
        return None
    pairs = zip(parts, rows, strict=True)
    return arranging.merged([arranging.silent(like, n) if p is None else p for p, n in pairs])


def _selected(context: AudioContext, index: Tensor) -> AudioContext | None:
    chosen = context.select(index)
    return chosen if bool(chosen.mask.any()) else None
