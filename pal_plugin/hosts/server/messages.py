"""Turns the messages of a request into those of the model: clips decoded, within the limits."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool

from pal_plugin.audio.errors import AudioError
from pal_plugin.hosts.server.decoding import Clip, Decoder
from pal_plugin.hosts.server.errors import Refusal
from pal_plugin.hosts.server.fetching import Fetcher
from pal_plugin.hosts.server.schema import AudioUrlPart, InputAudioPart, Message, TextPart
from pal_plugin.hosts.server.settings import Settings, option

_DATA = re.compile(r"data:[^,;]*(;[^,;]*)*;base64,", re.IGNORECASE)


class Reader:
    """Reads messages and clips of requests.

    Args:
        settings: their limits, and hosts that clips may be fetched from.
        decoder: for their clips.
    """

    def __init__(self, settings: Settings, decoder: Decoder) -> None:
        self.limits, self._decoder = settings.limits, decoder
        self._fetcher = Fetcher(
            settings.urls, settings.limits.max_body << 20, settings.limits.max_upload
        )

    async def read(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], float]:
        """The messages for `model.chat`, with clips as `(samples [S], rate in Hz)`, and the
        seconds of audio in them. Equal clips are one object, which the model encodes once.

        Raises:
            Refusal: a clip that is not allowed, too long, or not audio; too many of them.
        """
        self._count(messages)
        known: dict[tuple[str, str], Clip] = {}
        seconds, read = 0.0, []
        for number, message in enumerate(messages):
            role = "system" if message.role == "developer" else message.role
            content: Any = message.content
            if not isinstance(content, str):
                content = []
                for at, part in enumerate(message.content):
                    where = f"messages.{number}.content.{at}"
                    if isinstance(part, TextPart):
                        content.append({"type": "text", "text": part.text})
                        continue
                    source = _source(part)
                    if source not in known:
                        data = await self._bytes(*source, where)
                        known[source], seconds = await self.decode(data, where, seconds)
                    content.append({"type": "audio", "audio": known[source]})
            read.append({"role": role, "content": content})
        return read, seconds

    async def decode(self, data: bytes, where: str, before: float = 0.0) -> tuple[Clip, float]:
        """A clip, and the seconds of audio with it.

        Args:
            where: the field of the request, for errors.
            before: seconds of audio that the request has had.

        Raises:
            Refusal: 400 for what is not audio, 413 for too much of it.
        """
        try:
            clip = await run_in_threadpool(self._decoder.decode, data)
        except AudioError as error:
            raise Refusal(400, f"{where}: {error}", "invalid_audio", where) from error
        seconds = before + len(clip[0]) / clip[1]
        if seconds > self.limits.max_seconds:
            raise Refusal(
                413,
                f"{where}: with it the request has {seconds:.1f} s of audio; expected at most "
                f"{self.limits.max_seconds} s ({option('max_seconds')})",
                "audio_too_long",
                where,
            )
        return clip, seconds

    def _count(self, messages: Sequence[Message]) -> None:
        texts, clips = 0, 0
        for message in messages:
            parts = message.content if isinstance(message.content, list) else ()
            clips += sum(not isinstance(part, TextPart) for part in parts)
            texts += len(message.content) if isinstance(message.content, str) else 0
            texts += sum(len(part.text) for part in parts if isinstance(part, TextPart))
        for count, limit, unit in (
            (clips, "max_clips", "clips"),
            (texts, "max_text", "characters of text"),
        ):
            most = getattr(self.limits, limit)
            if count > most:
                raise Refusal(
                    400,
                    f"messages hold {count} {unit}; expected at most {most} ({option(limit)})",
                    "too_many",
                    "messages",
                )

    async def _bytes(self, kind: str, source: str, where: str) -> bytes:
        if kind == "audio_url":
            match = _DATA.match(source)
            if match is None:
                if source[:5].lower() == "data:":
                    raise _not_base64(where, "expected data:audio/...;base64,...")
                return await self._fetcher.fetch(source, where)
            source = source[match.end() :]
        try:
            return base64.b64decode(source, validate=True)
        except (ValueError, binascii.Error) as error:
            raise _not_base64(where, f"it is not base64: {error}") from error


def _source(part: InputAudioPart | AudioUrlPart) -> tuple[str, str]:
    is_url = isinstance(part, AudioUrlPart)
    return part.type, part.audio_url.url if is_url else part.input_audio.data


def _not_base64(where: str, reason: str) -> Refusal:
    return Refusal(400, f"{where}: {reason}", "invalid_audio", where)
