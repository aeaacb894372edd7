"""A conversation that goes on: each clip is encoded once, and each text token is read once.

Kept between turns: the clips as the LLM takes them (`AudioKV`), and its KV cache of what was said.
A turn then costs its own text, its own clips, and its answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from pal_plugin.audio.io import is_one_clip
from pal_plugin.integration.routing import LLMInputs, RoutedAudio
from pal_plugin.llm.conversation import Turns
from pal_plugin.llm.label_tree import cache_keyword
from pal_plugin.models import asked
from pal_plugin.models.audio_kv import AudioKV
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.context_length import check_context
from pal_plugin.models.encoded_prompts import encoded_prompts
from pal_plugin.utils.messages import content_parts

#: What would need several caches.
_SEVERAL = ("num_beams", "num_return_sequences", "num_beam_groups")


class Conversation:
    """Turns with one model.

        talk = Conversation(model)
        talk.ask("What do you hear?", audio="dog.wav")
        talk.ask("And which of the two is louder?", audio="rain.wav")

    A conversation that outgrows the LLM's context is an error and not a loss: nothing that was said
    is ever cut away. Begin a new one, with what of this one matters.

    Args:
        model: an `AudioLLM`, whose weights stand still meanwhile.
        system: system message.

    Attributes:
        messages: what was said, as `model.chat` takes it (an `AudioKV` excepted).
        tokens_read: tokens that entered the decoder so far: text, and audio by PLITS.
    """

    def __init__(self, model: AudioLLM, system: str | None = None) -> None:
        self.model, self.system = model, system
        self.messages: list[dict[str, Any]] = []
        if system is not None:
            self.messages.append({"role": "system", "content": system})
        self.tokens_read = 0
        self._turns = Turns(list(model.text.beginning), [False] * len(model.text.beginning))
        self._clips: list[RoutedAudio] = []
        self._cache: DynamicCache | None = None

    @torch.no_grad()
    def ask(
        self,
        content: str | Sequence[dict],
        audio: Any = None,
        max_new_tokens: int = 48,
        **generation,
    ) -> str:
        """The answer to the next turn.

        Args:
            content: a text, or parts as in `model.chat`.
            audio: one clip or several, heard in front of the text.
            max_new_tokens: length limit of the answer.
            generation: what transformers' `generate` takes, beams excepted.

        Raises:
            ValueError: a turn without text and clips, clips that cannot be used, an argument that
                cannot be used, or more tokens than the LLM has room for. The conversation is then
                what it was before.
        """
        asked.check_generation(max_new_tokens, generation)
        if several := [name for name in _SEVERAL if generation.get(name, 1) != 1]:
            raise ValueError(
                f"{', '.join(several)}: a conversation keeps the cache of one answer; use "
                "model.chat"
            )
        one = isinstance(audio, AudioKV) or is_one_clip(audio)
        clips = [] if audio is None else [audio] if one else list(audio)
        parts = [*((clip,) for clip in clips), *content_parts(content, "the turn")]
        if not any(not isinstance(part, str) or part.strip() for part in parts):
            raise ValueError("the turn is empty; expected a text or a clip")
        turns = Turns(*(list(kept) for kept in vars(self._turns).values()))
        turns.add_user(self.model.text, parts, self.system, self.model.audio_place)
        new = [self._heard(clip) for clip in turns.clips[len(self._turns.clips) :]]
        inputs = encoded_prompts(self.model, [turns], [*self._clips, *new])
        check_context(self.model.decoder.config, inputs, max_new_tokens, "the conversation")
        self.model.tell_untrained()
        cache, self._cache = self._cache, None  # what fails leaves none that is half filled
        answer = self._answer(inputs, cache, max_new_tokens, generation)
        if answer and answer[-1] in self.model.text.end_ids:
            answer = answer[:-1]  # the mark has not entered the cache
        turns.add_answer([*answer, self.model.text.end_id])
        said = self.model.text.decode(answer)
        self._turns, self._clips = turns, [*self._clips, *new]
        self.messages += [
            {"role": "user", "content": [_part(part) for part in parts]},
            {"role": "assistant", "content": said},
        ]
        return said

    def _answer(
        self, inputs: LLMInputs, cache: DynamicCache | None, max_new_tokens: int, generation: dict
    ) -> list[int]:
        model = self.model
        if cache is None:
            cache = DynamicCache(config=model.decoder.config)
        read = cache.get_seq_length()
        ids = model.generate_ids(
            inputs,
            max_new_tokens=max_new_tokens,
            **{cache_keyword(model.decoder): cache},
            **generation,
        )
        self.tokens_read += cache.get_seq_length() - read
        self._cache = cache
        return getattr(ids, "sequences", ids)[0].tolist()

    def _heard(self, clip: Any) -> RoutedAudio:
        kv = clip if isinstance(clip, AudioKV) else self.model.encode(clip)
        if kv.weights != self.model.fingerprint():
            raise ValueError("this AudioKV was made by another model: encode the audio again")
        if len(kv) != 1:
            raise ValueError(f"expected one clip in a place, got an AudioKV of {len(kv)}")
        return kv.routed


def _part(part: str | tuple) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "audio", "audio": part[0]}
