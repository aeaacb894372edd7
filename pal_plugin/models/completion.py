"""Answers with what a server or a kit asks for: why they ended, tokens counted, log-probabilities,
stop strings, a seed, and the text while it comes.

`AudioLLM.generate` gives plain texts; this is the same generation with its facts.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, TextStreamer

from pal_plugin.batch import Batch
from pal_plugin.models import asked
from pal_plugin.models.audio_llm import AudioLLM


@dataclass(frozen=True)
class Completion:
    """One answer.

    Attributes:
        text: without special tokens, and without the stop string that ended it.
        finish_reason: "stop" (an end mark or a stop string) or "length".
        prompt_tokens: text tokens of the prompt.
        audio_tokens: tokens of its clips, whichever way they go.
        completion_tokens: generated tokens, the end mark included.
        tokens, logprobs: texts and natural log-probabilities of these; None where not asked for.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    audio_tokens: int
    completion_tokens: int
    tokens: tuple[str, ...] | None = None
    logprobs: tuple[float, ...] | None = None


@torch.no_grad()
def complete(
    model: AudioLLM,
    samples: Batch,
    max_new_tokens: int = 48,
    stop: Sequence[str] = (),
    seed: int | None = None,
    logprobs: bool = False,
    **generation,
) -> list[Completion]:
    """Answers to a batch, one for each row (and each of `num_return_sequences`).

    Args:
        samples: as in `AudioLLM.generate`.
        max_new_tokens: length limit of an answer.
        stop: texts that end an answer and are left out of it.
        seed: of sampling (`do_sample=True`), for this call alone; None: torch's own state.
        logprobs: of the generated tokens too, before temperature and the like.
        generation: what transformers' `generate` takes.

    Raises:
        ValueError: as `AudioLLM.generate`, or an empty stop string.
    """
    asked.check_generation(max_new_tokens, generation)
    stop = [stop] if isinstance(stop, str) else list(stop)
    if any(not isinstance(text, str) or not text for text in stop):
        raise ValueError(f"stop is {stop!r}; expected texts that are not empty")
    inputs = model.prompts(samples)
    with _seeded(seed, model.device):
        out = model.generate_ids(
            inputs,
            max_new_tokens=max_new_tokens,
            return_dict_in_generate=True,
            output_logits=logprobs,
            **({"stop_strings": stop, "tokenizer": model.text.tokenizer} if stop else {}),
            **generation,
        )
    chances = None
    if logprobs:
        logits = torch.stack(out.logits, 1).float()  # [rows, steps, V]
        chances = logits.log_softmax(-1).gather(-1, out.sequences[..., None])[..., 0]
    prompt, audio = inputs.count()
    times = len(out.sequences) // len(prompt)
    return [
        _completion(model, row, stop, prompt[n // times], audio[n // times], chances, n)
        for n, row in enumerate(out.sequences.tolist())
    ]


def _completion(
    model: AudioLLM,
    ids: list[int],
    stop: Sequence[str],
    prompt: int,
    audio: int,
    chances: Tensor | None,
    number: int,
) -> Completion:
    text = model.text
    end = next((n + 1 for n, i in enumerate(ids) if i in text.end_ids), None)
    ids = ids if end is None else ids[:end]
    said = text.decode(ids)
    cuts = [at for at in (said.find(mark) for mark in stop) if at >= 0]
    if cuts:
        said = said[: min(cuts)].rstrip()
    tokens = values = None
    if chances is not None:
        tokens = tuple(text.tokenizer.decode([i]) for i in ids)
        values = tuple(chances[number, : len(ids)].tolist())
    reason = "length" if end is None and not cuts else "stop"
    return Completion(said, reason, prompt, audio, len(ids), tokens, values)


@contextlib.contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class TextStream:
    """The pieces of one answer while it is generated: `for piece in TextStream(model, samples)`.

    The generation runs in a thread and ends where the reader stops (`close`, or leaving `with`).

    Args:
        model, samples, options: as for `complete`; of one row, without beams.

    Attributes:
        completion: the whole answer, once the pieces have been read.
    """

    def __init__(self, model: AudioLLM, samples: Batch, **options: Any) -> None:
        self.completion: Completion | None = None
        stop = options.get("stop", ())
        self._stop = [stop] if isinstance(stop, str) else list(stop)
        self._pieces: queue.SimpleQueue = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(model, samples, options), daemon=True
        )
        self._thread.start()

    def _run(self, model: AudioLLM, samples: Batch, options: dict[str, Any]) -> None:
        writer = _Writer(model.text.tokenizer, self._pieces)
        criteria = StoppingCriteriaList([_Closed(self._closed)])
        try:
            done = complete(model, samples, streamer=writer, stopping_criteria=criteria, **options)
            if len(done) != 1:
                raise ValueError(f"expected one answer to stream, got {len(done)}")
            self._pieces.put(done[0])
        except BaseException as error:  # raised where the pieces are read
            self._pieces.put(error)

    def __iter__(self) -> Iterator[str]:
        said, given = "", 0
        while self.completion is None:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, Completion):
                self.completion = piece
                said, certain = piece.text, len(piece.text)
            else:
                said = (said + piece).lstrip()
                certain = self._certain(said)
            if certain > given:
                yield said[given:certain]
                given = certain

    def _certain(self, said: str) -> int:
        """How many characters are no part of a stop string, nor white space at the end."""
        found = [at for at in (said.find(stop) for stop in self._stop) if at >= 0]
        end = min(found, default=len(said))
        for stop in self._stop:
            begun = (n for n in range(len(stop) - 1, 0, -1) if said[:end].endswith(stop[:n]))
            end -= next(begun, 0)
        return len(said[:end].rstrip())

    def close(self) -> None:
        """End the generation, after the token that is being made."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Writer(TextStreamer):
    """transformers' streamer, whose texts go into a queue."""

    def __init__(self, tokenizer: Any, pieces: queue.SimpleQueue) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self.pieces = pieces

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.pieces.put(text)


class _Closed(StoppingCriteria):
    def __init__(self, closed: threading.Event) -> None:
        self.closed = closed

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self.closed.is_set(), device=input_ids.device)
