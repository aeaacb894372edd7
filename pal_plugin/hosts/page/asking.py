"""Answers of an engine as they come: to a question, and to the same with the audio masked."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

from pal_plugin.hosts.page.talk import Messages
from pal_plugin.serving.engine import Engine, Ticket
from pal_plugin.serving.requests import Busy, Delta, Done, Request, Stopped

#: Length limit of an answer, in tokens.
MAX_NEW_TOKENS = 96


def answers(
    engine: Engine, messages: Messages, max_new_tokens: int = MAX_NEW_TOKENS
) -> Iterator[tuple[str, str]]:
    """Both answers while they are generated; who stops reading gives them up.

    Yields:
        `(answer, answer with the audio masked)`, each as far as it has come.

    Raises:
        ValueError: as `Engine.submit`, or its ticket.
        Busy, Stopped: of the engine.
    """
    pieces: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    said, left = ["", ""], 2
    tickets: list[Ticket] = []
    try:
        for number, mute in enumerate((False, True)):
            request = Request(messages, max_new_tokens=max_new_tokens, mute=mute)
            tickets.append(engine.submit(request, partial(_put, pieces, number)))
        while left:
            number, piece = pieces.get()
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, Delta):
                said[number] += piece.text
            elif isinstance(piece, Done):
                said[number] = piece.completion.text
                left -= 1
            yield said[0], said[1]
    finally:
        for ticket in tickets:
            ticket.cancel()


@contextlib.contextmanager
def sentences() -> Iterator[list[str]]:
    """What people can act on, as sentences in the list in place of an exception."""
    said: list[str] = []
    try:
        yield said
    except Busy:
        said.append("Too many questions are being answered. Try again in a moment.")
    except (Stopped, CancelledError):
        said.append("The server is stopping.")
    except ValueError as error:  # of audio, messages and labels: written for people
        text = str(error)
        said.append(text[:1].upper() + text[1:])


def _put(pieces: queue.SimpleQueue, number: int, piece: Any) -> None:
    pieces.put((number, piece))
