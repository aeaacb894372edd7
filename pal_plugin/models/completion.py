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
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from pal_plugin.batch import Batch
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.models import asked
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.written import Written


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
        chances = logits.log_softmax(-1).gather(-1, out.sequences[..., None])[..., 0].tolist()
    prompt, audio = inputs.count()
    times = len(out.sequences) // len(prompt)
    return [
        _completion(model, row, stop, prompt[n // times], audio[n // times], chances and chances[n])
        for n, row in enumerate(out.sequences.tolist())
    ]


def _completion(
    model: AudioLLM,
    ids: Sequence[int],
    stop: Sequence[str],
    prompt: int,
    audio: int,
    chances: Sequence[float] | None,
) -> Completion:
    written = Written(model.text, stop)
    for token in ids:
        if written.add(token):  # what follows is padding
            break
    return completion_of(written, model.text, prompt, audio, chances)


def completion_of(
    written: Written, text: TextFormat, prompt: int, audio: int, chances: Sequence[float] | None
) -> Completion:
    """The facts of an answer that has ended, or is not to go on.

    Args:
        prompt, audio: tokens of the prompt.
        chances: log-probabilities of the tokens; None: not asked for.
    """
    ids, tokens = written.ids, None
    if chances is not None:
        tokens, chances = tuple(text.tokenizer.decode([i]) for i in ids), tuple(chances[: len(ids)])
    reason = "stop" if written.ended else "length"
    return Completion(written.whole(), reason, prompt, audio, len(ids), tokens, chances)


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
        self._written = Written(model.text, [stop] if isinstance(stop, str) else stop)
        self._pieces: queue.SimpleQueue = queue.SimpleQueue()
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(model, samples, options), daemon=True
        )
        self._thread.start()

    def _run(self, model: AudioLLM, samples: Batch, options: dict[str, Any]) -> None:
        criteria = StoppingCriteriaList([_Closed(self._closed)])
        options = {**options, "streamer": _Tokens(self._pieces), "stopping_criteria": criteria}
        try:
            done = complete(model, samples, **options)
            if len(done) != 1:
                raise ValueError(f"expected one answer to stream, got {len(done)}")
            self._pieces.put(done[0])
        except BaseException as error:  # raised where the pieces are read
            self._pieces.put(error)

    def __iter__(self) -> Iterator[str]:
        while self.completion is None:
            piece = self._pieces.get()
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, Completion):
                self.completion = piece
                text = self._written.rest()
            else:
                self._written.add(piece)
                text = self._written.piece()
            if text:
                yield text

    def close(self) -> None:
        """End the generation, after the token that is being made."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> TextStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Tokens(BaseStreamer):
    """Puts each token into a queue."""

    def __init__(self, tokens: queue.SimpleQueue) -> None:
        self.tokens = tokens

    def put(self, value: Tensor) -> None:
        for token in value.flatten().tolist():  # the prompt has none: it is embedded
            self.tokens.put(token)

    def end(self) -> None: ...


class _Closed(StoppingCriteria):
    def __init__(self, closed: threading.Event) -> None:
        self.closed = closed

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return torch.full((len(input_ids),), self.closed.is_set(), device=input_ids.device)
