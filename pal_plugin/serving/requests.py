"""What goes into the engine and what comes out: requests, pieces of answers, refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pal_plugin.models.completion import Completion


@dataclass(frozen=True)
class Request:
    """One answer that is asked for.

    Args:
        messages: as in `model.chat`; clips are decoded: `(array, rate in Hz)`.
        max_new_tokens: length limit of the answer.
        temperature: of sampling; 0: greedy.
        top_p: share of the probability that sampling chooses from.
        seed: of sampling; None: a new one. The same seed gives the same answer, whatever else is
            being answered.
        stop: texts that end the answer and are left out of it.
        logprobs: return the log-probabilities of the generated tokens.
        top_logprobs: how many of the likeliest tokens to return at each step.
        mute: mask the audio out of the attention, as in the masked control of an evaluation.
    """

    messages: Sequence[Mapping[str, Any]]
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int = 0
    mute: bool = False


@dataclass(frozen=True)
class TokenScore:
    """One generated token, and the likeliest in its place.

    Args:
        token: its text.
        logprob: natural log-probability, before temperature and `top_p`.
        top: `(text, log-probability)` of the likeliest, best first.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Delta:
    """A piece of an answer: text that will not change, and the tokens read since the last piece."""

    text: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True)
class Done:
    """The end of an answer: the whole of it, and `cached_tokens`, the prompt's tokens (text and
    audio) that were not computed anew."""

    completion: Completion
    scores: tuple[TokenScore, ...] = ()
    cached_tokens: int = 0


class Busy(Exception):
    """The queue is full; ask again later."""


class Stopped(Exception):
    """The engine has been closed."""
