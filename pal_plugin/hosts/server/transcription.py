"""`/v1/audio/transcriptions`: the question for a transcript, asked about one clip."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request as HTTPRequest
from fastapi.responses import PlainTextResponse, Response
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
)
from openai.types.audio.transcription import UsageTokens, UsageTokensInputTokenDetails
from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile

from pal_plugin.hosts.server.answers import Answers, Piece
from pal_plugin.hosts.server.chat import check_model
from pal_plugin.hosts.server.errors import Refusal, invalid
from pal_plugin.hosts.server.events import EventStream
from pal_plugin.hosts.server.messages import Reader
from pal_plugin.hosts.server.metrics import Metrics
from pal_plugin.hosts.server.schema import TranscriptionForm
from pal_plugin.hosts.server.settings import Settings, option
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Delta, Done, Request

_MOST_FIELDS = 20


class Transcriptions:
    """The endpoint.

    Args:
        engine: answers.
        settings: the model's name, the question, limits.
        reader: of clips.
        metrics: count the audio.
    """

    def __init__(
        self, engine: Engine, settings: Settings, reader: Reader, metrics: Metrics
    ) -> None:
        self.engine, self.settings, self.reader, self.metrics = engine, settings, reader, metrics

    async def answer(self, http: HTTPRequest) -> Response:
        """A transcript: JSON, plain text or a stream of its pieces.

        Raises:
            Refusal: see docs/serving.md.
        """
        answers, streams = Answers(http, self.settings.limits.max_time), False
        try:
            form, data = await read_form(http)
            check_model(form.model, self.settings)
            self._check_prompt(form)
            clip, seconds = await answers.unless_left(self.reader.decode(data, "file"))
            self.metrics.heard(seconds)
            await answers.ask(self.engine, [self._request(form, clip)])
            if form.stream:
                pieces = await answers.unless_left(answers.begun())
                streams = True
                return EventStream(self._events(pieces), answers)
            (done,) = await answers.unless_left(answers.done())
        finally:
            if not streams:
                answers.close()
        self._check_end(done)
        if form.response_format == "text":
            return PlainTextResponse(f"{done.completion.text}\n")
        whole = Transcription(text=done.completion.text, usage=used(done))
        return Response(whole.model_dump_json(exclude_unset=True), media_type="application/json")

    def _check_prompt(self, form: TranscriptionForm) -> None:
        most = self.settings.limits.max_text
        if form.prompt and len(form.prompt) > most:
            raise Refusal(
                400,
                f"prompt has {len(form.prompt)} characters; expected at most {most} "
                f"({option('max_text')})",
                "too_many",
                "prompt",
            )

    def _request(self, form: TranscriptionForm, clip: Any) -> Request:
        parts = [
            {"type": "audio", "audio": clip},
            {"type": "text", "text": form.prompt or self.settings.question},
        ]
        return Request(
            [{"role": "user", "content": parts}],
            max_new_tokens=self.settings.limits.max_tokens,
            temperature=form.temperature,
        )

    def _check_end(self, done: Done) -> None:
        """A transcript has no finish_reason: one that is cut off would pass for a whole one."""
        if done.completion.finish_reason == "length":
            raise Refusal(
                413,
                f"the transcript is longer than {self.settings.limits.max_tokens} tokens "
                f"({option('max_tokens')}); send a shorter clip, or ask at /v1/chat/completions, "
                "which gives what there is",
                "transcript_too_long",
                "file",
            )

    async def _events(self, pieces: AsyncIterator[Piece]) -> AsyncIterator[BaseModel]:
        async for _, piece in pieces:
            if isinstance(piece, Delta):
                yield TranscriptionTextDeltaEvent(type="transcript.text.delta", delta=piece.text)
                continue
            self._check_end(piece)
            yield TranscriptionTextDoneEvent(
                type="transcript.text.done",
                text=piece.completion.text,
                usage=used(piece).model_dump(),
            )


async def read_form(http: HTTPRequest) -> tuple[TranscriptionForm, bytes]:
    """The fields and the file's bytes.

    Raises:
        Refusal: 400 for a form that is malformed, or holds unknown fields or one of them twice.
    """
    if not http.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refusal(400, "expected multipart/form-data with the fields file and model")
    async with http.form(max_files=1, max_fields=_MOST_FIELDS) as form:
        fields: dict[str, Any] = {}
        for name, value in form.multi_items():
            if name in fields:
                raise Refusal(400, f"{name[:100]} is given twice", "invalid_value", name[:100])
            fields[name] = value
        file = fields.pop("file", None)
        if not isinstance(file, UploadFile):
            raise Refusal(400, "file: expected an uploaded file", "invalid_value", "file")
        try:
            read = TranscriptionForm.model_validate(fields)
        except ValidationError as error:
            raise invalid(error.errors(include_input=False, include_url=False)) from error
        return read, await file.read()


def used(done: Done) -> UsageTokens:
    """Tokens of the question and the clip, and of the transcript."""
    whole = done.completion
    return UsageTokens(
        type="tokens",
        input_tokens=whole.prompt_tokens + whole.audio_tokens,
        output_tokens=whole.completion_tokens,
        total_tokens=whole.prompt_tokens + whole.audio_tokens + whole.completion_tokens,
        input_token_details=UsageTokensInputTokenDetails(
            text_tokens=whole.prompt_tokens, audio_tokens=whole.audio_tokens
        ),
    )
