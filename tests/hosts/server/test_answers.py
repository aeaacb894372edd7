"""Answers from another thread; whoever leaves, or is late, gives them up."""

import asyncio
import threading
from concurrent.futures import CancelledError

import pytest
from scripted import ScriptedEngine

from pal_plugin.hosts.server.answers import Answers
from pal_plugin.hosts.server.errors import ClientLeft, Refusal
from pal_plugin.serving.requests import Delta, Done, Request, Stopped

QUESTION = Request([{"role": "user", "content": "What is it?"}])


class Client:
    """The request of a client that stays until `leaves` is set."""

    def __init__(self):
        self.leaves = asyncio.Event()

    async def receive(self):
        await self.leaves.wait()
        return {"type": "http.disconnect"}


def run(story, seconds=60, engine=None):
    """`await story(answers, client, engine)`."""
    engine = engine or ScriptedEngine()

    async def told():
        client = Client()
        return await story(Answers(client, seconds), client, engine)

    return asyncio.run(told())


def test_pieces_come_with_the_numbers_of_their_requests():
    async def story(answers, client, engine):
        await answers.ask(engine, [QUESTION, QUESTION])
        return [piece async for piece in answers.pieces()]

    pieces = run(story)
    for number in (0, 1):
        mine = [piece for n, piece in pieces if n == number]
        assert mine[:2] == [Delta("a"), Delta(" bell")]
        assert isinstance(mine[2], Done)
    assert len(pieces) == 6


def test_whole_answers_are_in_order():
    async def story(answers, client, engine):
        await answers.ask(engine, [QUESTION] * 3)
        return await answers.done()

    assert [done.completion.text for done in run(story)] == ["a bell"] * 3


def test_what_has_begun_is_whole():
    async def story(answers, client, engine):
        await answers.ask(engine, [QUESTION])
        return [piece async for _, piece in await answers.begun()]

    assert run(story)[:2] == [Delta("a"), Delta(" bell")]


def test_who_leaves_gives_up_at_once():
    async def story(answers, client, engine):
        engine.go.clear()
        await answers.ask(engine, [QUESTION, QUESTION])
        asyncio.get_running_loop().call_later(0.01, client.leaves.set)
        with pytest.raises(ClientLeft):
            await answers.unless_left(answers.done())
        answers.close()
        return [ticket.cancelled.is_set() for ticket in engine.tickets]

    engine = ScriptedEngine()
    assert run(story, engine=engine) == [True, True]
    engine.go.set()


@pytest.mark.parametrize("waits", [False, True])
def test_time_is_limited(waits):
    async def story(answers, client, engine):
        engine.go.clear()
        await answers.ask(engine, [QUESTION])
        work = answers.unless_left(asyncio.sleep(60)) if waits else answers.done()
        with pytest.raises(Refusal, match=r"took more than 0.05 s \(--max-time\)") as caught:
            await work
        assert answers.left_s == 0
        return caught.value.status_code

    engine = ScriptedEngine()
    assert run(story, 0.05, engine) == 504
    engine.go.set()


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("too long"), 400), (Stopped("closed"), 503)],
)
def test_what_the_engine_refuses_has_a_status(error, status):
    async def asked(answers, engine):
        await answers.ask(engine, [QUESTION])
        await answers.done()

    async def story(answers, client, engine):
        with pytest.raises(Refusal) as caught:
            await asked(answers, engine)
        return caught.value.status_code

    at_once, later = ScriptedEngine(), ScriptedEngine()
    at_once.refused = later.fails = error
    assert run(story, engine=at_once) == run(story, engine=later) == status


def test_a_full_queue_is_429_and_gives_up_what_found_a_place():
    class Filling(ScriptedEngine):
        def submit(self, request, deliver=None):
            self.full = len(self.asked) == 1
            return super().submit(request, deliver)

    async def story(answers, client, engine):
        with pytest.raises(Refusal, match="2 requests wait") as caught:
            await answers.ask(engine, [QUESTION, QUESTION])
        answers.close()
        return caught.value.status_code

    engine = Filling()
    assert run(story, engine=engine) == 429
    assert [ticket.cancelled.is_set() for ticket in engine.tickets] == [True]


def test_other_errors_are_bugs():
    async def story(answers, client, engine):
        await answers.ask(engine, [QUESTION])
        await answers.done()

    engine = ScriptedEngine()
    engine.fails = CancelledError()
    with pytest.raises(CancelledError):
        run(story, engine=engine)


def test_a_client_that_leaves_while_requests_are_submitted_leaves_nothing_behind():
    entered, goes_on = threading.Event(), threading.Event()

    class Slow(ScriptedEngine):
        def submit(self, request, deliver=None):
            entered.set()
            goes_on.wait(60)
            return super().submit(request, deliver)

    async def story(answers, client, engine):
        asking = asyncio.ensure_future(answers.ask(engine, [QUESTION, QUESTION]))
        await asyncio.to_thread(entered.wait)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        answers.close()
        goes_on.set()
        while not engine.tickets:
            await asyncio.sleep(0.001)
        return await asyncio.to_thread(engine.tickets[0].cancelled.wait, 60)

    engine = Slow()
    assert run(story, engine=engine)
    assert len(engine.tickets) == 1
