"""One answer that is on its way, as seen by who asked."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from pal_plugin.serving.requests import Delta, Done, Request

logger = logging.getLogger(__name__)

Delivered = Delta | Done | Exception


class Ticket:
    """One answer that is on its way: iterate over it from another thread, or take its `result`.

    `for piece in ticket` gives each `Delta` as it comes and the `Done` at the end, and raises what
    went wrong: ValueError (a clip that cannot be used, or a prompt that with its clips is longer
    than the LLM's context), Stopped (the engine was closed), `concurrent.futures.CancelledError`,
    or what the model raised. Where no `Delta` came, nothing of the answer was generated.

    Args:
        request: what is asked.
        deliver: called with each piece, from the engine's thread, in place of iteration.
    """

    def __init__(
        self, request: Request, deliver: Callable[[Delivered], None] | None = None
    ) -> None:
        self.request = request
        self._deliver = deliver
        self._pieces: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
        self._done: Future[Done] = Future()
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Gives its place up, at the next step; harmless once it is answered."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for it any more."""
        return self._cancelled.is_set()

    def result(self, timeout: float | None = None) -> Done:
        """The whole answer; raises what went wrong, or TimeoutError after `timeout` seconds."""
        return self._done.result(timeout)

    def __iter__(self) -> Iterator[Delta | Done]:
        while True:
            piece = self._pieces.get()
            if isinstance(piece, Exception):
                raise piece
            yield piece
            if isinstance(piece, Done):
                return

    def give(self, piece: Delivered) -> None:
        """A piece of the answer, its end, or what went wrong; for the engine. Nothing follows an
        end."""
        if self._done.done():
            return
        if isinstance(piece, Done):
            self._done.set_result(piece)
        elif isinstance(piece, Exception):
            self._done.set_exception(piece)
        if self._deliver is None:
            self._pieces.put(piece)
            return
        try:
            self._deliver(piece)
        except Exception:  # the caller's: it must not end the engine's thread
            logger.exception("delivering an answer failed: nobody waits for the rest of it")
            self.cancel()
