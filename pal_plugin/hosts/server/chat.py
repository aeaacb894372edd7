"""`/v1/chat/completions`: requests of OpenAI's form to the engine, and its answers back."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import Request as HTTPRequest
from fastapi.responses import Response
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice
from openai.types.chat.chat_completion_chunk import ChoiceDelta
from openai.types.chat.chat_completion_chunk import ChoiceLogprobs as ChunkLogprobs
from openai.types.chat.chat_completion_token_logprob import (
    ChatCompletionTokenLogprob,
    TopLogprob,
)
from openai.types.completion_usage import CompletionUsage, PromptTokensDetails

from pal_plugin.hosts.server.answers import Answers, Piece
from pal_plugin.hosts.server.errors import Refusal
from pal_plugin.hosts.server.events import EventStream
from pal_plugin.hosts.server.messages import Reader
from pal_plugin.hosts.server.metrics import Metrics
from pal_plugin.hosts.server.schema import ChatRequest
from pal_plugin.hosts.server.settings import Limits, Settings, option
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Delta, Done, Request, TokenScore

#: JSON has no -inf; OpenAI's word for a token that cannot be.
_LEAST = -9999.0


class Chat:
    """The endpoint.

    Args:
        engine: answers.
        settings: the model's name, limits.
        reader: of messages.
        metrics: count the audio.
        fingerprint: of the weights.
    """

    def __init__(
        self, engine: Engine, settings: Settings, reader: Reader, metrics: Metrics, fingerprint: str
    ) -> None:
        self.engine, self.settings, self.reader = engine, settings, reader
        self.metrics, self.fingerprint = metrics, fingerprint

    async def answer(self, http: HTTPRequest, body: ChatRequest) -> Response:
        """A completion, or a stream of its pieces.

        Raises:
            Refusal: see docs/serving.md.
        """
        check_model(body.model, self.settings)
        limits = self.settings.limits
        check_lengths(body, limits)
        answers, streams = Answers(http, limits.max_time), False
        try:
            messages, seconds = await answers.unless_left(self.reader.read(body.messages))
            self.metrics.heard(seconds)
            await answers.ask(self.engine, requests_of(body, messages, limits))
            facts = {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "created": int(time.time()),
                "model": self.settings.name,
                "system_fingerprint": self.fingerprint,
            }
            if body.stream:
                pieces = await answers.unless_left(answers.begun())
                streams = True
                return EventStream(chunks(body, facts, pieces), answers, end="[DONE]")
            done = await answers.unless_left(answers.done())
        finally:
            if not streams:
                answers.close()
        whole = ChatCompletion(
            object="chat.completion",
            choices=[choice(body, number, one) for number, one in enumerate(done)],
            usage=usage(done),
            **facts,
        )
        return Response(whole.model_dump_json(exclude_unset=True), media_type="application/json")


def check_model(name: str, settings: Settings) -> None:
    """Raises Refusal (404) if another model is asked for."""
    if name != settings.name:
        raise Refusal(
            404,
            f"there is no model {name[:100]!r}; expected {settings.name!r}",
            "model_not_found",
            "model",
        )


def check_lengths(body: ChatRequest, limits: Limits) -> None:
    """Raises Refusal (400) if more answers or tokens are asked for than allowed."""
    for param, asked, limit in (
        ("n", body.n, "max_choices"),
        ("max_tokens", body.length(), "max_tokens"),
    ):
        most = getattr(limits, limit)
        if asked is not None and asked > most:
            raise Refusal(
                400,
                f"{param} is {asked}; expected at most {most} ({option(limit)})",
                "too_many",
                param,
            )


def requests_of(body: ChatRequest, messages: Sequence[Any], limits: Limits) -> list[Request]:
    """One request of the engine for each choice; with a seed, choice i has seed + i."""
    return [
        Request(
            messages,
            max_new_tokens=body.length() or limits.max_tokens,
            temperature=body.temperature or 0.0,
            top_p=1.0 if body.top_p is None else body.top_p,
            seed=None if body.seed is None else (body.seed + number) % 2**63,
            stop=body.stops(),
            logprobs=bool(body.logprobs),
            top_logprobs=body.top_logprobs or 0,
        )
        for number in range(body.n or 1)
    ]


def choice(body: ChatRequest, number: int, done: Done) -> Choice:
    """One answer of a completion."""
    return Choice(
        index=number,
        finish_reason=done.completion.finish_reason,
        logprobs=ChoiceLogprobs(content=scored(done.scores), refusal=None)
        if body.logprobs
        else None,
        message=ChatCompletionMessage(role="assistant", content=done.completion.text, refusal=None),
    )


async def chunks(
    body: ChatRequest, facts: dict[str, Any], pieces: AsyncIterator[Piece]
) -> AsyncIterator[ChatCompletionChunk]:
    """The pieces of a completion: each choice's role, texts and end; then what was used, where
    asked for."""
    counts = body.stream_options is not None and bool(body.stream_options.include_usage)
    no_usage: dict[str, Any] = {"usage": None} if counts else {}
    kind: dict[str, Any] = {"object": "chat.completion.chunk", **facts}

    def one(number: int, delta: ChoiceDelta, reason: str | None, scores: Any) -> Any:
        logprobs = ChunkLogprobs(content=scored(scores), refusal=None) if scores else None
        return ChatCompletionChunk(
            choices=[
                ChunkChoice(index=number, delta=delta, finish_reason=reason, logprobs=logprobs)
            ],
            **kind,
            **no_usage,
        )

    done: dict[int, Done] = {}
    given = [0] * (body.n or 1)
    for number in range(len(given)):
        yield one(number, ChoiceDelta(role="assistant", content=""), None, ())
    async for number, piece in pieces:
        if isinstance(piece, Delta):
            given[number] += len(piece.scores)
            yield one(number, ChoiceDelta(content=piece.text), None, piece.scores)
            continue
        done[number] = piece
        rest = piece.scores[given[number] :]  # such as that of the end mark
        yield one(number, ChoiceDelta(), piece.completion.finish_reason, rest)
    if counts:
        yield ChatCompletionChunk(choices=[], usage=usage(list(done.values())), **kind)


def scored(scores: Sequence[TokenScore]) -> list[ChatCompletionTokenLogprob]:
    """Log-probabilities in OpenAI's form."""
    return [
        ChatCompletionTokenLogprob(
            token=score.token,
            bytes=list(score.token.encode()),
            logprob=max(_LEAST, score.logprob),
            top_logprobs=[
                TopLogprob(token=text, bytes=list(text.encode()), logprob=max(_LEAST, value))
                for text, value in score.top
            ],
        )
        for score in scores
    ]


def usage(done: Sequence[Done]) -> CompletionUsage:
    """Tokens of the prompt, text and audio, once for all answers, and of the answers."""
    first = done[0].completion
    prompt = first.prompt_tokens + first.audio_tokens
    answers = sum(one.completion.completion_tokens for one in done)
    return CompletionUsage(
        prompt_tokens=prompt,
        completion_tokens=answers,
        total_tokens=prompt + answers,
        prompt_tokens_details=PromptTokensDetails(
            audio_tokens=first.audio_tokens, cached_tokens=min(one.cached_tokens for one in done)
        ),
    )
