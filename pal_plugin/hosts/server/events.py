"""A response of server-sent events: pieces of answers while they are generated."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pal_plugin.hosts.server.answers import Answers
from pal_plugin.hosts.server.errors import BUG, Refusal, error_body, log_bug

#: For a client that does not read what is sent, beyond the time for its answer.
_GRACE_S = 5


class EventStream(StreamingResponse):
    """Events as they come; an error is the last of them.

    Args:
        events: one JSON object each.
        answers: what they are made from; closed at the end, also where the client leaves.
        end: text of an event behind the last.
    """

    def __init__(
        self, events: AsyncIterator[BaseModel], answers: Answers, end: str | None = None
    ) -> None:
        self._answers = answers
        super().__init__(
            _lines(events, end),
            media_type="text/event-stream",
            # Proxies shall not hold the pieces back.
            headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send all of it."""
        try:
            with anyio.move_on_after(self._answers.left_s + _GRACE_S):
                await super().__call__(scope, receive, send)
        finally:
            self._answers.close()


async def _lines(events: AsyncIterator[BaseModel], end: str | None) -> AsyncIterator[str]:
    try:
        async for event in events:
            yield f"data: {event.model_dump_json(exclude_unset=True)}\n\n"
    except Refusal as refusal:
        yield f"data: {json.dumps(refusal.body())}\n\n"
    except Exception as error:
        log_bug(error)
        yield f"data: {json.dumps(error_body(500, BUG))}\n\n"
    else:
        if end is not None:
            yield f"data: {end}\n\n"
