"""Server-sent events: one JSON object each, an error as the last, and who leaves is noticed."""

import asyncio
import json

import pytest
from pydantic import BaseModel

from pal_plugin.hosts.server.errors import Refusal
from pal_plugin.hosts.server.events import EventStream


class Word(BaseModel):
    word: str
    unset: int | None = None


class Answers:
    """What the events are made from."""

    left_s, closed = 60.0, False

    def close(self):
        self.closed = True


def sent(events, answers=None, end="[DONE]", receive=None):
    """All that a stream sends, as text."""
    pieces = []

    async def send(message):
        pieces.append(message.get("body", b""))

    async def stays():
        await asyncio.sleep(60)

    async def run():
        stream = EventStream(events(), answers or Answers(), end)
        await stream({"type": "http"}, receive or stays, send)
        return stream

    stream = asyncio.run(run())
    return b"".join(pieces).decode(), stream


async def words():
    yield Word(word="a")
    yield Word(word="bell")


def test_events_come_one_by_one_and_then_the_end():
    answers = Answers()
    text, stream = sent(words, answers)
    assert text == 'data: {"word":"a"}\n\ndata: {"word":"bell"}\n\ndata: [DONE]\n\n'
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["x-accel-buffering"] == "no"
    assert answers.closed
    assert sent(words, end=None)[0].endswith('"bell"}\n\n')


@pytest.mark.parametrize(
    ("error", "message"),
    [(Refusal(504, "late"), "late"), (RuntimeError("secret"), "the server failed")],
)
def test_an_error_is_the_last_event(error, message):
    async def fails():
        yield Word(word="a")
        raise error

    first, last = sent(fails)[0].strip().split("\n\n")
    assert first == 'data: {"word":"a"}'
    told = json.loads(last.removeprefix("data: "))["error"]["message"]
    assert message in told
    assert "secret" not in told


def test_who_leaves_closes_the_answers():
    answers = Answers()

    async def endless():
        yield Word(word="a")
        await asyncio.sleep(60)

    async def leaves():
        return {"type": "http.disconnect"}

    sent(endless, answers, receive=leaves)
    assert answers.closed


def test_who_does_not_read_is_left(monkeypatch):
    monkeypatch.setattr("pal_plugin.hosts.server.events._GRACE_S", 0.05)
    answers = Answers()
    answers.left_s = 0.0

    async def stuck():
        yield Word(word="a")
        await asyncio.sleep(60)

    sent(stuck, answers)
    assert answers.closed
