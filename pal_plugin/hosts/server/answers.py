"""The answers to one request as they come from the engine's thread; who leaves gives them up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from fastapi import Request as HTTPRequest
from starlette.concurrency import run_in_threadpool

from pal_plugin.hosts.server.errors import ClientLeft, Refusal, busy, unavailable
from pal_plugin.hosts.server.settings import option
from pal_plugin.serving.engine import Engine, Ticket
from pal_plugin.serving.requests import Busy, Delta, Done, Request, Stopped

T = TypeVar("T")
Piece = tuple[int, Delta | Done]


class Answers:
    """Answers to requests that belong together, such as the choices of a completion.

    `async for number, piece in answers.pieces()` gives all pieces in the order in which they come,
    each with the number of its request. It must be closed, which gives up what has not come yet.

    Args:
        http: the request, whose client may leave.
        seconds: time for all of it, from now on.
    """

    def __init__(self, http: HTTPRequest, seconds: float) -> None:
        self._http, self._seconds = http, seconds
        self._loop = asyncio.get_running_loop()
        self._ends = self._loop.time() + seconds
        self._pieces: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()
        self._tickets: list[Ticket] = []
        self._closed = False

    @property
    def left_s(self) -> float:
        """Seconds that are left."""
        return max(0.0, self._ends - self._loop.time())

    async def ask(self, engine: Engine, requests: Sequence[Request]) -> None:
        """Submit the requests.

        Raises:
            Refusal: 400 where the engine cannot answer one, 429 where too many wait, 503 where it
                is stopping.
        """

        def submit() -> None:
            for number, request in enumerate(requests):
                self._tickets.append(engine.submit(request, self._put(number)))
                if self._closed:  # meanwhile: a thread goes on where its task is cancelled
                    self.close()
                    return

        with _as_refusals():
            await run_in_threadpool(submit)  # it tokenizes

    async def pieces(self) -> AsyncIterator[Piece]:
        """All pieces.

        Raises:
            Refusal: as `ask`, and 504 where the time is over.
        """
        left = len(self._tickets)
        while left:
            number, piece = await self._in_time(self._pieces.get())
            if isinstance(piece, Exception):
                with _as_refusals():
                    raise piece
            left -= isinstance(piece, Done)
            yield number, piece

    async def done(self) -> list[Done]:
        """All answers, whole; raises as `pieces`."""
        found = {n: piece async for n, piece in self.pieces() if isinstance(piece, Done)}
        return [found[number] for number in range(len(found))]

    async def begun(self) -> AsyncIterator[Piece]:
        """`pieces`, once the first has come: until then an error has a status of its own."""
        pieces = self.pieces()
        first = await anext(pieces)

        async def all_of_them() -> AsyncIterator[Piece]:
            yield first
            async for piece in pieces:
                yield piece

        return all_of_them()

    async def unless_left(self, work: Awaitable[T]) -> T:
        """What `work` returns.

        Raises:
            ClientLeft: the client has left; `work` is cancelled.
            Refusal: 504 where the time is over.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._leaves())
        try:
            await self._in_time(
                asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            )
            if not working.done():
                raise ClientLeft
            return working.result()
        finally:
            working.cancel()
            leaving.cancel()

    def close(self) -> None:
        """Give up what has not come yet."""
        self._closed = True
        for ticket in self._tickets:
            ticket.cancel()

    def _put(self, number: int) -> Callable[[Any], None]:
        def put(piece: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(self._pieces.put_nowait, (number, piece))

        return put

    async def _leaves(self) -> None:
        while (await self._http.receive())["type"] != "http.disconnect":
            pass

    async def _in_time(self, waited_for: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(waited_for, self.left_s)
        except (TimeoutError, asyncio.TimeoutError) as error:
            raise Refusal(
                504,
                f"the answer took more than {self._seconds:g} s ({option('max_time')}); ask for "
                "fewer tokens or later",
                "timeout",
            ) from error


@contextlib.contextmanager
def _as_refusals() -> Iterator[None]:
    try:
        yield
    except Busy as error:
        raise busy(str(error)) from error
    except Stopped as error:
        raise unavailable("the server is stopping, or its model has failed") from error
    except ValueError as error:
        raise Refusal(400, str(error), "invalid_request") from error
