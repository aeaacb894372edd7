"""Answers requests from any number of threads with one model, together.

One thread owns the model. In each turn it reads the prompts that have come (prefill), lets them
join those that are being answered, chooses a token for each answer, lets go of those that have
ended or that nobody waits for, and runs one step of the decoder for all that remain.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from typing import Any

from pal_plugin.models import asked
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.ranked import ranked
from pal_plugin.serving.answer import Answer
from pal_plugin.serving.batch import Batch
from pal_plugin.serving.clip_cache import ClipCache
from pal_plugin.serving.prefix_cache import PrefixCache
from pal_plugin.serving.prompt import prompt_of
from pal_plugin.serving.reading import Reader, told
from pal_plugin.serving.requests import Busy, Request, Stopped
from pal_plugin.serving.sampling import defaults_of
from pal_plugin.serving.ticket import Delivered, Ticket

logger = logging.getLogger(__name__)

#: Prompts that are read between two steps: reading keeps those that are being answered waiting.
READ_AT_ONCE = 4


class Engine:
    """One model that answers many requests.

    An answer is that of `complete` for its conversation alone, up to the rounding of sums, whatever
    else is being answered; with a seed, the same tokens are sampled. Where the rows of an LLM's
    cache cannot be merged, requests read together form a batch, and batches take turns.

    Args:
        model: what answers; it is put into eval mode, and its weights stand still meanwhile.
        max_batch: answers that are generated at a time.
        max_waiting: requests that may wait for a place.
        clip_cache_bytes: memory for clips that were heard before, in bytes.
        prefix_cache_bytes: memory for conversations that were answered: the next turn of one reads
            only what is new in it. 0: none.

    Raises:
        ValueError: the LLM's generation config asks for what is not done here.
    """

    def __init__(
        self,
        model: AudioLLM,
        *,
        max_batch: int = 16,
        max_waiting: int = 64,
        clip_cache_bytes: int = 1 << 30,
        prefix_cache_bytes: int = 1 << 28,
    ) -> None:
        self.model = model.eval()
        self.max_batch, self.max_waiting = max_batch, max_waiting
        self._defaults = defaults_of(model.llm.generation_config)
        self._clips = ClipCache(model, clip_cache_bytes)
        self._prefixes = PrefixCache(prefix_cache_bytes)
        self._reader = Reader(model, self._clips, self._prefixes)
        self._changed = threading.Condition()
        self._waiting: deque[Answer] = deque()
        self._jobs: deque[tuple[Callable[[], Any], Future]] = deque()
        self._closed: Stopped | None = None
        self._finish = True
        self._arrived: list[Answer] = []
        self._batches: list[Batch] = []
        self._counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._run, name="pal-engine", daemon=True)
        self._thread.start()

    def submit(
        self, request: Request, deliver: Callable[[Delivered], None] | None = None
    ) -> Ticket:
        """Asks for an answer; thread-safe, returns at once.

        How many tokens a clip has is known once it is encoded. A prompt that only with its clips is
        too long therefore comes back as a ValueError through the ticket, before any `Delta`, as
        does a clip that cannot be used.

        Args:
            deliver: called from the engine's thread with each `Delta`, then `Done`, or with what
                went wrong; it must not wait. None: iterate over the ticket.

        Raises:
            ValueError: a request that cannot be answered.
            Busy: `max_waiting` requests wait.
            Stopped: the engine is closed.
        """
        prompt = prompt_of(self.model, request.messages, request.mute)
        self._check(request, len(prompt.ids))
        ticket = Ticket(request, deliver)
        answer = Answer(ticket, prompt, self.model.text, self._defaults, self.model.device)
        with self._open():
            if len(self._waiting) >= self.max_waiting:
                raise Busy(f"{len(self._waiting)} requests are waiting; ask again later")
            self._waiting.append(answer)
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
            ValueError: as `submit` and `model.predict_class`.
            Stopped: the engine is closed.
        """
        candidates = asked.check_candidates(candidates)
        prompt = prompt_of(self.model, messages, mute)
        return self.call(
            lambda: ranked(
                self.model.llm, self.model.text, self._reader.inputs([prompt]), candidates
            )
        )

    def count(self, messages: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
        """Text and audio tokens of a prompt. Its clips are encoded for that, and then known.

        Raises:
            ValueError: as `submit`, or a clip cannot be used.
            Stopped: the engine is closed.
        """
        prompt = prompt_of(self.model, messages)
        text, audio = self.call(lambda: self._reader.inputs([prompt]).count())
        return text[0], audio[0]

    def call(self, job: Callable[[], Any]) -> Any:
        """What `job()` returns or raises. It runs in the engine's thread, between two steps: for
        what needs the model for itself, and takes less than an answer.

        Raises:
            Stopped: the engine is closed.
        """
        future: Future = Future()
        with self._open():
            self._jobs.append((job, future))
        return future.result()

    def close(self, finish: bool = True) -> None:
        """Refuses what comes from now on (Stopped), and waits for the thread to end.

        Args:
            finish: finish what runs and what waits; False: end all of it with Stopped.
        """
        with self._changed:
            self._closed = self._closed or Stopped("the engine has been closed")
            self._finish = self._finish and finish
            self._changed.notify_all()
        self._thread.join()

    @property
    def is_open(self) -> bool:
        """Whether it takes requests: neither closed nor failed."""
        return self._closed is None

    def stats(self) -> dict[str, float]:
        """Gauges of now (`running`, `waiting`, `clip_cache_bytes`, `prefix_cache_bytes`,
        `rows_per_step`, the mean) and counters since the start (all others), by name."""
        names = ("answered", "cancelled", "failed", "steps", "row_steps")
        tokens = ("prompt_tokens", "audio_tokens", "completion_tokens", "cached_tokens")
        counts = {name: self._counts[name] for name in (*names, *tokens)}
        return {
            "running": sum(map(len, self._batches)),
            "waiting": len(self._waiting),
            **counts,
            "rows_per_step": counts["row_steps"] / max(1, counts["steps"]),
            "clip_cache_bytes": self._clips.nbytes,
            "prefix_cache_bytes": self._prefixes.nbytes,
            "clip_cache_hits": self._clips.hits,
            "clip_cache_misses": self._clips.misses,
        }

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close(finish=False)

    def _check(self, request: Request, tokens: int) -> None:
        given = {"temperature": request.temperature or None, "top_p": request.top_p}
        asked.check_generation(request.max_new_tokens, given)
        if any(not isinstance(text, str) or not text for text in request.stop):
            raise ValueError(f"stop is {request.stop!r}; expected texts that are not empty")
        if request.top_logprobs and not request.logprobs:
            raise ValueError("top_logprobs needs logprobs=True")
        limit = getattr(self.model.decoder.config, "max_position_embeddings", None)
        if limit is not None and tokens + request.max_new_tokens > limit:
            raise ValueError(
                f"the prompt has {tokens} tokens of text, its clips not counted; with "
                f"max_new_tokens={request.max_new_tokens} that is more than the LLM's context of "
                f"{limit}: shorten the text, or allow a shorter answer"
            )

    @contextmanager
    def _open(self) -> Iterator[None]:
        """To add something to do."""
        with self._changed:
            if self._closed is not None:
                raise Stopped(str(self._closed)) from self._closed.__cause__
            yield
            self._changed.notify_all()

    # The engine's thread

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # nothing that is asked ends here: it is a fault of ours
            logger.exception("the engine has failed")
            with self._changed:
                self._closed = Stopped(f"the engine has failed: {type(error).__name__}: {error}")
                self._closed.__cause__ = error
        self._end_all()

    def _turn(self) -> bool:
        """Waits for something to do and does it once for all; returns whether to go on."""
        with self._changed:
            while not (self._waiting or self._jobs or self._batches or self._closed):
                self._changed.wait()
            if self._closed and not (
                self._finish and (self._waiting or self._jobs or self._batches)
            ):
                return False
            jobs = list(self._jobs)
            self._jobs.clear()
            left = [answer for answer in self._waiting if answer.ticket.cancelled]
            for answer in left:
                self._waiting.remove(answer)
            places = self.max_batch - sum(map(len, self._batches))
            places = min(places, READ_AT_ONCE, len(self._waiting))
            self._arrived = [self._waiting.popleft() for _ in range(places)]
        for job, future in jobs:
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(told(error))
        self._let_go(left)
        self._for_each_batch(self._drop_cancelled)
        if self._arrived:
            self._join(self._arrived)
        self._for_each_batch(self._step)
        return True

    def _for_each_batch(self, act: Callable[[Batch], None]) -> None:
        """What fails for a whole batch ends its answers, and nothing else."""
        for batch in self._batches:
            try:
                act(batch)
            except Exception as error:
                error = told(error)
                for answer in batch.answers:
                    self._fail(answer, error)
                batch.answers = []
        self._batches = [batch for batch in self._batches if batch]

    def _drop_cancelled(self, batch: Batch) -> None:
        self._let_go(batch.keep(lambda answer: not answer.ticket.cancelled))

    def _let_go(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            self._counts["cancelled"] += 1
            answer.ticket.give(CancelledError())

    def _join(self, arrived: Sequence[Answer]) -> None:
        """Reads prompts and lets them in."""
        read, failed = self._reader.read(arrived)
        for answer, error in failed:
            self._fail(answer, error)
        for answers, rows in read:
            batch = Batch(self.model.llm, answers, rows)
            if not (self._batches and batch.takes_others):
                self._batches.append(batch)
                continue
            try:
                self._batches[0].join(batch)
            except Exception as error:  # no memory, perhaps; those in the batch go on
                error = told(error)
                for answer in answers:
                    self._fail(answer, error)
        self._arrived = []

    def _step(self, batch: Batch) -> None:
        """One token for every answer of a batch."""
        failed = batch.choose()
        for answer in batch.keep(lambda answer: answer not in failed):
            self._fail(answer, told(failed[answer]))
        self._remember(batch)
        for answer in batch.keep(lambda answer: not answer.ended):
            done = answer.done()
            self._counts["answered"] += 1
            self._counts["cached_tokens"] += done.cached_tokens
            for name in ("prompt_tokens", "audio_tokens", "completion_tokens"):
                self._counts[name] += getattr(done.completion, name)
            answer.ticket.give(done)
        while batch:
            try:
                batch.step()
            except Exception as error:  # no memory, perhaps: with one answer fewer it may do
                newest = batch.answers[-1]
                batch.keep(lambda answer: answer is not newest)  # noqa: B023 - called at once
                self._fail(newest, told(error))
                continue
            self._counts["steps"] += 1
            self._counts["row_steps"] += len(batch)
            return

    def _remember(self, batch: Batch) -> None:
        """Keeps the conversations that have been answered."""
        if not self._prefixes.max_bytes or not batch.takes_others:
            return
        for answer in batch.answers:
            if answer.ended:  # its last token has not been read
                said = answer.written.ids[:-1]
                try:
                    self._prefixes.put(answer.prompt, said, batch.cache_of(answer))
                except Exception as error:  # no memory to spare
                    told(error)

    def _fail(self, answer: Answer, error: Exception) -> None:
        self._counts["failed"] += 1
        answer.ticket.give(error)

    def _end_all(self) -> None:
        """Nothing is left without an answer."""
        with self._changed:
            closed = self._closed
            left = [answer for batch in self._batches for answer in batch.answers]
            left += [*self._arrived, *self._waiting]
            jobs = list(self._jobs)
            self._batches, self._arrived = [], []
            self._waiting.clear()
            self._jobs.clear()
        for answer in left:
            answer.ticket.give(Stopped(str(closed)))
        for _, future in jobs:
            future.set_exception(Stopped(str(closed)))
