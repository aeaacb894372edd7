"""A batch's text rows as token ids: single questions with their answers, or conversations.

A batch has conversations if it has `messages`. They are parsed once, into `conversations`, whoever
needs them first; DataLoader workers do so in training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pal_plugin.batch import Batch, questions_of
from pal_plugin.models.components import ModelComponents
from pal_plugin.models.conversations import gather


def is_chat(samples: Any) -> bool:
    """Whether a batch has conversations."""
    return isinstance(samples, Mapping) and "messages" in samples


def with_conversations(
    model: ModelComponents, samples: Batch, answers: Sequence[str] | None = None
) -> Batch:
    """The batch with its messages, and these answers to them, parsed into `conversations`.

    Args:
        samples: has `messages`; one that was parsed before stays as it is.
        answers: see `conversations.gather`.

    Raises:
        ValueError: see `conversations.gather`.
    """
    if "conversations" in samples:
        return samples
    clips, encoded = None, samples.get("audio_tokens")
    if encoded:  # of a batch from which rows may have been taken
        clips = len(next(iter(encoded.values())))
    elif samples.get("audio") is not None:
        samples = {**samples, "audio": model.frontend.joined(samples)}
        clips = len(next(iter(samples["audio"].values()))["windows"])
    read = gather(
        model.text,
        samples["messages"],
        model.audio_place,
        clips,
        model.device,
        spare=bool(encoded),
        answers=answers,
    )
    return {**samples, "conversations": read}


def prompt_rows(model: ModelComponents, samples: Batch) -> tuple[Batch, list[list[int]]]:
    """The batch, parsed, and the token ids of its R prompts.

    Raises:
        ValueError: if a question is blank, a conversation ends with an answer, or as
            `with_conversations`.
    """
    if not is_chat(samples):
        return samples, [model.text.prompt_ids(question) for question in questions_of(samples)]
    samples = with_conversations(model, samples)
    for row, learned in enumerate(samples["conversations"].learned):
        if learned[-1]:
            raise ValueError(f"conversation {row} ends with an answer; expected a question")
    return samples, samples["conversations"].ids


def labelled_rows(
    model: ModelComponents, samples: Batch
) -> tuple[Batch, list[list[int]], list[list[bool]]]:
    """The batch, tokenized, the token ids of its R rows with their answers, and for each id whether
    it belongs to an answer (the label mask).

    Raises:
        ValueError: as `with_conversations`, or `TextFormat.tokenized`.
    """
    if is_chat(samples):
        samples = with_conversations(model, samples, samples.get("text_output"))
        return samples, samples["conversations"].ids, samples["conversations"].learned
    samples = samples if "answer_ids" in samples else model.text.tokenized(samples)
    pairs = list(zip(samples["prompt_ids"], samples["answer_ids"], strict=True))
    learned = [[False] * len(prompt) + [True] * len(answer) for prompt, answer in pairs]
    return samples, [prompt + answer for prompt, answer in pairs], learned
