"""Several things that one wants to know about the same clips, which are encoded once: an answer,
the probabilities of labels, and both with the audio masked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pal_plugin.batch import Batch
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.completion import Completion, TextStream
from pal_plugin.models.conversations import shared
from pal_plugin.utils.messages import clips_of, with_clips


class Answering:
    """Answers of one model to conversations.

    Args:
        model: in eval mode.
        options: of `completion.complete`, for every answer.
    """

    def __init__(self, model: AudioLLM, **options: Any) -> None:
        self.model, self.options = model, options
        self._clips: list[Any] = []
        self._encoded: dict[str, Any] = {}

    def answer(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        masked: bool = False,
        write: Callable[[str], None] = lambda piece: None,
    ) -> Completion:
        """The answer to a conversation.

        Args:
            messages: as `AudioLLM.chat` takes them.
            masked: with all audio masked.
            write: called with each piece of the text while it is generated.

        Raises:
            ValueError: as `AudioLLM.chat`.
        """
        with TextStream(self.model, self._batch(messages, masked), **self.options) as stream:
            for piece in stream:
                write(piece)
        return stream.completion

    def rank(
        self, messages: Sequence[dict[str, Any]], labels: Sequence[str], *, masked: bool = False
    ) -> list[float]:
        """The probability of each label as the answer (`AudioLLM.predict_class`).

        Raises:
            ValueError: as `AudioLLM.predict_class`.
        """
        found = self.model.predict_class(self._batch(messages, masked), labels)
        return found["probabilities"][0].tolist()

    def _batch(self, messages: Sequence[dict[str, Any]], masked: bool) -> Batch:
        numbers, clips = shared(clips_of(messages))
        if not clips:
            return {"messages": [messages]}
        if [*map(id, clips)] != [*map(id, self._clips)]:
            audio = self.model.frontend.joined({"audio": clips})
            with torch.no_grad():
                tokens = self.model.encode_audio({"audio": audio})
            self._clips, self._encoded = clips, {"audio": audio, "audio_tokens": tokens}
        batch = {"messages": [with_clips(messages, numbers)], **self._encoded}
        return {**batch, "audio_mask": [False]} if masked else batch
