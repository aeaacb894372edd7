"""Batches of conversations: their clips, possibly shared, and the position of each clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from pal_plugin.batch import Batch
from pal_plugin.integration.routing import ClipPlaces
from pal_plugin.llm.conversation import read_messages
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.utils.messages import answered


@dataclass(frozen=True)
class Conversations:
    """R conversations about C clips.

    Args:
        ids: token ids of each conversation.
        learned: for each id, whether it belongs to an answer (the label mask).
        clips: the clips; None if the messages refer to the batch's clips by number.
        places: the clips in each conversation and their positions; None: no clips at all.
    """

    ids: list[list[int]]
    learned: list[list[bool]]
    clips: list[Any] | None
    places: ClipPlaces | None

    def to(self, device: torch.device) -> Conversations:
        """A copy whose tensors are on `device`."""
        if self.places is None:
            return self
        index, places = self.places.index.to(device), self.places.places.to(device)
        return replace(self, places=ClipPlaces(index, places))

    def without_audio(self, masked: Sequence[bool]) -> ClipPlaces | None:
        """The positions without the clips of conversations that are `masked`."""
        if self.places is None:
            return None
        gone = torch.as_tensor(masked, dtype=torch.bool, device=self.places.index.device)
        return ClipPlaces(self.places.index.masked_fill(gone[:, None], -1), self.places.places)


def gather(
    text: TextFormat,
    messages: Any,
    audio_place: str,
    clips: int | None = None,
    device: torch.device | str = "cpu",
    spare: bool = False,
    answers: Sequence[str] | None = None,
) -> Conversations:
    """Parses the conversations of a batch.

    Args:
        messages: a list of R conversations, each a list of messages (`llm/conversation.py`).
        audio_place: see there.
        clips: number of clips in the batch, which the messages then refer to by number; None: the
            messages contain the clips themselves.
        spare: whether the batch may have clips that are not referred to.
        answers: of each conversation's last question, if the messages end with it.

    Raises:
        ValueError: if it is not a list of conversations, messages are invalid, numbers refer to no
            clip of the batch, clips are not referred to (unless `spare`), or there are fewer or
            more answers.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise ValueError("expected samples['messages'] as a list of conversations")
    if isinstance(messages[0], Mapping):
        raise ValueError(
            "samples['messages'] is one conversation; expected a list of them, or model.chat"
        )
    if answers is None:
        answers = [None] * len(messages)
    if len(answers) != len(messages):
        raise ValueError(f"got {len(messages)} conversations, but {len(answers)} answers")
    read = []
    for row, (conversation, answer) in enumerate(zip(messages, answers, strict=True)):
        try:
            read.append(read_messages(text, answered(conversation, answer), audio_place))
        except ValueError as error:
            raise ValueError(f"conversation {row}: {error}") from error
    found: list[Any] | None = None
    if clips is None:
        numbers, found = shared([clip for turns in read for clip in turns.clips])
    else:
        numbers = _named([clip for turns in read for clip in turns.clips], clips, spare)
    return Conversations(
        [turns.ids for turns in read],
        [turns.learned for turns in read],
        found,
        clip_places([turns.places for turns in read], numbers, device),
    )


def shared(clips: Sequence[Any]) -> tuple[list[int], list[Any]]:
    """`(number of each clip, clips by number)`: the same file or object is encoded only once."""
    numbers: dict[Any, int] = {}
    found: list[Any] = []
    result = []
    for clip in clips:
        key = clip if isinstance(clip, str) else id(clip)
        if key not in numbers:
            numbers[key] = len(found)
            found.append(clip)
        result.append(numbers[key])
    return result, found


def tokenized(text: TextFormat, audio_place: str, batch: Batch) -> Batch:
    """A training batch with the token ids of its rows: of its `conversations`, including their
    answers, or as `TextFormat.tokenized`. DataLoader workers call it.

    Args:
        batch: from `datasets.collate`.

    Raises:
        ValueError: as `gather`, or `TextFormat.tokenized`.
    """
    if "messages" not in batch:
        return text.tokenized(batch)
    clips = len(next(iter(batch["audio"].values()))["windows"]) if "audio" in batch else None
    answers = batch["text_output"]
    read = gather(text, batch["messages"], audio_place, clips, answers=answers)
    return {**batch, "conversations": read}


def _named(named: Sequence[Any], clips: int, spare: bool) -> list[int]:
    wrong = [n for n in named if isinstance(n, bool) or not isinstance(n, int) or n >= clips]
    if wrong or any(n < 0 for n in named):
        raise ValueError(
            f"the messages refer to clips {list(named)!r:.200}; the batch has {clips}, numbered "
            f"0..{clips - 1}"
        )
    unused = sorted(set(range(clips)) - set(named))
    if unused and not spare:
        raise ValueError(
            f"the batch has {clips} clips, but the messages only refer to {len(set(named))}; "
            f"unused: {unused}"
        )
    return list(named)


def clip_places(
    rows: Sequence[Sequence[int]], numbers: Sequence[int], device: torch.device | str = "cpu"
) -> ClipPlaces | None:
    """The clips of R rows as tensors; None: no row has any.

    Args:
        rows: the places of each row's clips.
        numbers: the clips' numbers, row after row.
    """
    most = max(len(row) for row in rows)
    if not most:
        return None
    index = torch.full((len(rows), most), -1)
    places = torch.zeros((len(rows), most), dtype=torch.long)
    first = 0
    for row, at in enumerate(rows):
        index[row, : len(at)] = torch.tensor(numbers[first : first + len(at)], dtype=torch.long)
        places[row, : len(at)] = torch.tensor(at, dtype=torch.long)
        first += len(at)
    return ClipPlaces(index.to(device), places.to(device))
