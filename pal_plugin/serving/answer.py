"""An answer while it is generated: its tokens, its text, its log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.generation import LogitsProcessor

from pal_plugin.llm.conversation import Turns
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.models.completion import completion_of
from pal_plugin.models.written import Written
from pal_plugin.serving.requests import Delta, Done, TokenScore
from pal_plugin.serving.sampling import Choice
from pal_plugin.serving.ticket import Ticket


class Answer:
    """What a ticket is given, token by token.

    Args:
        ticket: who asked, and what.
        prompt: of the request.
        text: the tokenizer.
        defaults: what the LLM asks of every answer (`sampling.defaults_of`).
        device: of the logits.

    Attributes:
        written: its tokens and text.
        prompt_tokens, audio_tokens: of the prompt; known once it is read.
        cached_tokens: how many of both were not computed anew.
    """

    def __init__(
        self,
        ticket: Ticket,
        prompt: Turns,
        text: TextFormat,
        defaults: Sequence[LogitsProcessor],
        device: torch.device,
    ) -> None:
        self.ticket, self.request, self.prompt = ticket, ticket.request, prompt
        self.choice = Choice(self.request, defaults, device)
        self.written = Written(text, self.request.stop)
        self.prompt_tokens = self.audio_tokens = self.cached_tokens = 0
        self._text = text
        self._scores: list[TokenScore] = []
        self._given = 0

    @property
    def ended(self) -> bool:
        """By an end token, a stop string, or the length limit."""
        return self.written.ended or len(self.written.ids) >= self.request.max_new_tokens

    def take(self, token: int, logits: Tensor) -> None:
        """The next token; gives the ticket what is certain of the text.

        Args:
            token: chosen from these logits.
            logits: float32 `[V]`.
        """
        self.written.add(token)
        if self.request.logprobs:
            self._scores.append(self._score(token, logits))
        text = self.written.rest() if self.ended else self.written.piece()
        if text or (self.ended and self._given < len(self._scores)):
            scores, self._given = self._scores[self._given :], len(self._scores)
            self.ticket.give(Delta(text, tuple(scores)))

    def done(self) -> Done:
        """The whole answer."""
        scores = self._scores
        chances = [score.logprob for score in scores] if self.request.logprobs else None
        completion = completion_of(
            self.written, self._text, self.prompt_tokens, self.audio_tokens, chances
        )
        return Done(completion, tuple(scores), self.cached_tokens)

    def _score(self, token: int, logits: Tensor) -> TokenScore:
        chances = logits.log_softmax(-1)
        values, ids = chances.topk(min(self.request.top_logprobs, len(chances)))
        spelled = [self._text.tokenizer.decode([i]) for i in (token, *ids.tolist())]
        best = zip(spelled[1:], values.tolist(), strict=True)
        return TokenScore(spelled[0], float(chances[token]), tuple(best))
