"""Answers requests from any number of threads with one model, in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

import torch

from pal_plugin.llm.conversation import Turns, read_messages
from pal_plugin.models import asked
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.completion import TextStream
from pal_plugin.serving.requests import Busy, Delta, Done, Request, Stopped, TokenScore

logger = logging.getLogger(__name__)

Delivered = Delta | Done | Exception


class Ticket:
    """One answer that is on its way: iterate over it from another thread, or take its `result`.

    `for piece in ticket` gives each `Delta` as it comes and the `Done` at the end, and raises what
    went wrong: ValueError (a clip that cannot be used, a prompt that with its clips is longer than
    the LLM's context), Stopped (the engine was closed), CancelledError (of concurrent.futures).
    Without a Delta nothing of the answer has been generated.
    """

    def __init__(self, request: Request, deliver: Callable[[Delivered], None] | None) -> None:
        self.request = request
        self._deliver = deliver
        self._pieces: queue.SimpleQueue[Delivered] = queue.SimpleQueue()
        self._done: Future[Done] = Future()
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Give its place up, at the next step; harmless once it is answered."""
        self._cancelled.set()

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

    def _give(self, piece: Delivered) -> None:
        """Called by the engine's thread."""
        if isinstance(piece, Done):
            self._done.set_result(piece)
        elif isinstance(piece, Exception):
            self._done.set_exception(piece)
        if self._deliver is None:
            self._pieces.put(piece)
            return
        try:
            self._deliver(piece)
        except Exception:
            logger.exception("what an answer was delivered to failed; the answer ends")
            self.cancel()


class Engine:
    """One model that answers many requests.

    Args:
        model: what answers; it is put into eval mode, and its weights stand still meanwhile.
        max_batch: answers that are generated at a time.
        max_waiting: requests that may wait for a place.
        clip_cache_bytes: memory for clips that were heard before.
    """

    def __init__(
        self,
        model: AudioLLM,
        *,
        max_batch: int = 16,
        max_waiting: int = 64,
        clip_cache_bytes: int = 1 << 30,
    ) -> None:
        self.model = model.eval()
        self.max_batch, self.max_waiting = max_batch, max_waiting
        self._waiting: deque[Ticket] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future]] = deque()
        self._changed = threading.Condition()
        self._closed, self._aborted, self._running = False, False, 0
        self._counts = dict.fromkeys(
            ("answered", "cancelled", "failed", "prompt_tokens", "audio_tokens"), 0
        )
        self._counts |= dict.fromkeys(("completion_tokens", "steps", "row_steps"), 0)
        self._thread = threading.Thread(target=self._run, name="pal-engine", daemon=True)
        self._thread.start()

    def submit(
        self, request: Request, deliver: Callable[[Delivered], None] | None = None
    ) -> Ticket:
        """Ask for an answer; thread-safe, returns at once.

        What depends on the number of audio tokens is known once the clips are encoded: a prompt
        that only with its clips is too long comes back as a ValueError through the ticket, before
        any `Delta`, as does a clip that cannot be used.

        Args:
            deliver: called from the engine's thread with each `Delta`, then `Done`, or with what
                went wrong; None: iterate over the ticket.

        Raises:
            ValueError: a request that cannot be answered.
            Busy: `max_waiting` requests wait.
            Stopped: the engine is closed.
        """
        self._check(request)
        ticket = Ticket(request, deliver)
        with self._changed:
            self._refuse_if_closed()
            if len(self._waiting) >= self.max_waiting:
                raise Busy(f"{len(self._waiting)} requests wait; ask again later")
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def rank(
        self,
        messages: Sequence[Mapping[str, Any]],
        candidates: Sequence[str],
        mute: bool = False,
    ) -> dict:
        """`model.predict_class` for one conversation: predictions, scores and probabilities, all
        with one row. Waits for its turn between two steps.

        Args:
            messages: as in a `Request`.
            candidates: the possible answers.
            mute: mask the audio out of the attention.

        Raises:
            ValueError: as `model.predict_class`.
            Stopped: the engine is closed.
        """
        samples = _samples(messages, mute)
        self._turns(messages)
        return self._in_thread(lambda: self.model.predict_class(samples, candidates))

    def count(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Text and audio tokens of a prompt. Encodes its clips, in the engine's thread.

        Raises:
            ValueError: bad messages, or a clip that cannot be used.
            Stopped: the engine is closed.
        """
        self._turns(messages)

        def counted() -> tuple[int, int]:
            text, audio = self.model.prompts(_samples(messages, False)).count()
            return text[0], audio[0]

        return self._in_thread(counted)

    def call(self, job: Callable[[], Any]) -> Any:
        """What `job()` returns or raises. It runs in the engine's thread, between two steps: for
        what needs the model for itself, and takes less than an answer.

        Raises:
            Stopped: the engine is closed.
        """
        return self._in_thread(job)

    def close(self, finish: bool = True) -> None:
        """Refuse what comes from now on (Stopped), and wait for the thread to end.

        Args:
            finish: finish what runs and what waits; False: end all of it with Stopped.
        """
        with self._changed:
            self._closed = True
            self._aborted = self._aborted or not finish
            self._changed.notify_all()
        self._thread.join()

    def stats(self) -> dict[str, float]:
        """Counters since the start and gauges of now, by name."""
        with self._changed:
            return {
                "running": self._running,
                "waiting": len(self._waiting),
                **self._counts,
                "clip_cache_bytes": 0,
                "clip_cache_hits": 0,
                "clip_cache_misses": 0,
                "rows_per_step": self._counts["row_steps"] / max(1, self._counts["steps"]),
            }

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(finish=False)

    def _check(self, request: Request) -> None:
        turns = self._turns(request.messages)
        asked.check_generation(
            request.max_new_tokens,
            {"temperature": request.temperature or None, "top_p": request.top_p},
        )
        if any(not isinstance(text, str) or not text for text in request.stop):
            raise ValueError(f"stop is {request.stop!r}; expected texts that are not empty")
        limit = getattr(self.model.decoder.config, "max_position_embeddings", None)
        if limit is not None and len(turns.ids) + request.max_new_tokens > limit:
            raise ValueError(
                f"the prompt has {len(turns.ids)} tokens of text; with max_new_tokens="
                f"{request.max_new_tokens} that is more than the {limit} of the LLM's context"
            )

    def _turns(self, messages: Sequence[Mapping[str, Any]]) -> Turns:
        turns = read_messages(self.model.text, messages, self.model.audio_place)
        if turns.learned[-1]:
            raise ValueError("the conversation ends with an answer; expected a user message")
        return turns

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Stopped("the engine has been closed")

    def _in_thread(self, job: Callable[[], Any]) -> Any:
        future: Future = Future()
        with self._changed:
            self._refuse_if_closed()
            self._jobs.append((job, future))
            self._changed.notify_all()
        return future.result()

    # The engine's thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._waiting or self._jobs or self._closed):
                    self._changed.wait()
                jobs, ticket = list(self._jobs), None
                self._jobs.clear()
                if self._aborted:
                    for left in self._waiting:
                        left._give(Stopped("the engine has been closed"))
                    self._waiting.clear()
                elif self._waiting:
                    ticket, self._running = self._waiting.popleft(), 1
            for job, future in jobs:
                try:
                    future.set_result(job())
                except Exception as error:
                    future.set_exception(error)
            if ticket is not None:
                try:
                    self._answer(ticket)
                except Exception as error:
                    self._counts["failed"] += 1
                    ticket._give(error)
                self._running = 0
            elif self._closed and not jobs:
                return

    def _answer(self, ticket: Ticket) -> None:
        asked_for = ticket.request
        options: dict[str, Any] = {"max_new_tokens": asked_for.max_new_tokens, "logprobs": True}
        if asked_for.stop:
            options["stop"] = list(asked_for.stop)
        if asked_for.temperature > 0:
            options |= {"do_sample": True, "temperature": asked_for.temperature, "top_k": 0}
            options |= {"top_p": asked_for.top_p, "seed": asked_for.seed}
        with TextStream(self.model, _samples(asked_for.messages, asked_for.mute), **options) as s:
            for text in s:
                if ticket._cancelled.is_set() or self._aborted:
                    break
                ticket._give(Delta(text))
        if ticket._cancelled.is_set():
            self._counts["cancelled"] += 1
            ticket._give(CancelledError())
            return
        if self._aborted:
            ticket._give(Stopped("the engine has been closed"))
            return
        done = s.completion
        scores = ()
        if asked_for.logprobs:
            scores = tuple(map(TokenScore, done.tokens, done.logprobs))
        self._counts["answered"] += 1
        for name in ("prompt_tokens", "audio_tokens", "completion_tokens"):
            self._counts[name] += getattr(done, name)
        ticket._give(Done(done, scores))


def _samples(messages: Sequence[Mapping[str, Any]], mute: bool) -> dict[str, Any]:
    samples: dict[str, Any] = {"messages": [messages]}
    return {**samples, "audio_mask": torch.tensor([False])} if mute else samples
