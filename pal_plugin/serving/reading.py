"""Reads prompts: clips from their cache, the text into a KV cache, several prompts at once."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

import torch

from pal_plugin.integration.routing import LLMInputs
from pal_plugin.llm.conversation import Turns
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.context_length import check_context
from pal_plugin.models.encoded_prompts import encoded_prompts
from pal_plugin.serving import kv_cache
from pal_plugin.serving.answer import Answer
from pal_plugin.serving.clip_cache import ClipCache
from pal_plugin.serving.prefix_cache import Prefix, PrefixCache
from pal_plugin.serving.rows import Rows

logger = logging.getLogger(__name__)

#: Answers and their rows, in the same order.
Read = tuple[list[Answer], Rows]


class Reader:
    """Prompts of one model.

    Args:
        model: in eval mode.
        clips: those that were heard before.
        prefixes: conversations that were answered before.
    """

    def __init__(self, model: AudioLLM, clips: ClipCache, prefixes: PrefixCache) -> None:
        self.model, self.clips, self.prefixes = model, clips, prefixes

    @torch.no_grad()
    def inputs(self, prompts: Sequence[Turns]) -> LLMInputs:
        """Prompts with their clips, left-padded.

        Raises:
            ValueError: a clip cannot be used.
        """
        heard = [self.clips.get(*clip) for prompt in prompts for clip in prompt.clips]
        return encoded_prompts(self.model, prompts, heard)

    def _known_audio(self, prompt: Turns) -> int:
        """Audio tokens whose keys and values are known, by LAL or cross attention."""
        known = (self.clips.known(key) for key, _ in prompt.clips)
        parts = [
            part for clip in known if clip is not None for part in (clip.audio, clip.cross_audio)
        ]
        return sum(int(part.mask.sum()) for part in parts if part is not None)

    def read(self, answers: Sequence[Answer]) -> tuple[list[Read], list[tuple[Answer, Exception]]]:
        """Prefills the prompts of some answers.

        Returns:
            What was read, and the answers whose prompt could not be, each with the reason: one
            never spoils another.
        """
        alone = {answer: found for answer in answers if (found := self._known(answer.prompt))}
        others = [answer for answer in answers if answer not in alone]
        read, failed = self._together(others) if others else ([], [])
        for answer, (shared, prefix) in alone.items():
            try:
                read.append(([answer], self._read([answer], shared, prefix)))
            except Exception as error:
                failed.append((answer, told(error)))
        return read, failed

    def _known(self, prompt: Turns) -> tuple[int, Prefix] | None:
        """The beginning of a prompt, if that is worth reading the rest of it alone."""
        shared, prefix = self.prefixes.find(prompt)
        return (shared, prefix) if prefix is not None and 2 * shared >= len(prompt.ids) else None

    def _together(
        self, answers: Sequence[Answer]
    ) -> tuple[list[Read], list[tuple[Answer, Exception]]]:
        try:
            return [(list(answers), self._read(answers))], []
        except Exception as error:
            if len(answers) == 1:
                return [], [(answers[0], told(error))]
        each = [self._together([answer]) for answer in answers]
        return [r for read, _ in each for r in read], [f for _, failed in each for f in failed]

    def _read(
        self, answers: Sequence[Answer], shared: int = 0, prefix: Prefix | None = None
    ) -> Rows:
        """Prefills; of a single prompt, what is behind its first `shared` ids."""
        known = [self._known_audio(answer.prompt) for answer in answers]
        inputs = self.inputs([answer.prompt for answer in answers])
        longest = max(answer.request.max_new_tokens for answer in answers)
        check_context(self.model.decoder.config, inputs, longest)
        cache, past = None, shared
        if prefix is not None:
            if inputs.text_columns is not None:
                past = int(inputs.text_columns[0, shared - 1]) + 1
            cache = kv_cache.cropped(prefix.cache, past)
        rows = Rows.read(self.model.llm, inputs, cache)
        if cache is not None:
            self.prefixes.touch(prefix)
        for answer, text, audio, aside in zip(answers, *inputs.count(), known, strict=True):
            answer.prompt_tokens, answer.audio_tokens = text, audio
            answer.cached_tokens = aside + (0 if cache is None else past)
        return rows


def told(error: BaseException) -> BaseException:
    """An error for who asked: logged if nobody expected it, and without the tensors of the calls
    that it came through."""
    if not isinstance(error, ValueError):
        logger.error("a request failed", exc_info=error)
    traceback.clear_frames(error.__traceback__)
    return error
