"""The batch: output of datasets, input of models, passed on by tasks and evaluators.

It is a plain dict like LAVIS's `samples`, for compatibility with other tasks and datasets; `Batch`
lists its keys. Models use the first group of keys, the others are metadata.

Design choice: torch is imported lazily, so that programs that only read stored predictions
(`pal results`) start without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pal_plugin.types import AudioTokens


class Batch(TypedDict, total=False):
    """C clips and R text rows; row r refers to clip `clip_index[r]`, or is a conversation about
    any of them. Lists have R entries."""

    #: Features by encoder, from `AudioFrontend.collate`; or any form that
    #: `AudioFrontend.joined` accepts (paths, arrays, features of single clips); or an `AudioKV`.
    audio: Any
    #: Output of the model's `encode_audio` for `audio`, by group, features [C, N, D].
    audio_tokens: dict[str, AudioTokens]
    #: Bool [R], False to mask a row's audio; absent: no row is masked.
    audio_mask: Tensor
    #: Long [R]; absent: one row per clip, or equally many rows for each clip in turn.
    clip_index: Tensor
    text_input: list[str]
    text_output: list[str]
    #: Conversations up to the last question, whose answer is `text_output`; clips are referred to
    #: by their numbers in the batch. `text_input` is then for display only.
    messages: list[list[dict[str, Any]]]
    #: Token ids of `text_input` and `text_output`, or the `models.conversations.Conversations` of
    #: `messages`, if DataLoader workers tokenized them (training).
    prompt_ids: list[list[int]]
    answer_ids: list[list[int]]
    conversations: Any

    task: list[str]
    question_type: list[str]
    #: Accepted answers, the closed set of answers (None if open), and fields of some tasks only.
    answers: list[list[str]]
    candidates: list[list[str] | None]
    more: list[dict[str, Any]]
    sample_id: list[str]
    question_id: list[str]
    instance_id: list[str]
    #: Number of samples; one has several clips if its rows are conversations.
    num_clips: int
    #: Number of samples without a question; names and reasons of skipped ones.
    num_unasked: int
    skipped: list[str]


#: Keys of clips or of the whole batch, not of text rows.
CLIP_KEYS = ("audio", "audio_tokens", "num_clips", "num_unasked", "skipped")


def rows_in(batch: Batch) -> int:
    """Number of text rows of a batch, or of clips if there is no text."""
    return len(batch.get("text_input", batch.get("messages", batch.get("sample_id", ()))))


def clips_in(batch: Batch) -> int:
    """Number of samples of a batch (see `num_clips`)."""
    return int(batch.get("num_clips", rows_in(batch)))


def ids_of(batch: Batch) -> list[str]:
    """Ids of a batch's questions, or of its clips."""
    names = batch.get("question_id") or batch.get("sample_id") or ["(samples without ids)"]
    return [str(name) for name in names]


def texts_of(batch: Batch, key: str) -> list[str]:
    """The texts of all rows.

    Raises:
        ValueError: if it is not a non-empty list of strings.
    """
    if not isinstance(batch, Mapping):
        raise ValueError(
            "expected a batch, {'audio': [clip, ...], 'text_input': ['What do you hear?', ...]}, "
            f"got {type(batch).__name__}"
        )
    texts = batch.get(key)
    if not isinstance(texts, list | tuple):
        raise ValueError(
            f"expected a list of strings as samples[{key!r}], got {type(texts).__name__}; the "
            f"sample has the keys {sorted(batch)}"
        )
    if not texts:
        raise ValueError(f"samples[{key!r}] is empty; expected at least one text")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"samples[{key!r}][{row}] is {text!r}; expected text")
    return list(texts)


def questions_of(batch: Batch) -> list[str]:
    """`text_input` of all rows, none blank.

    Raises:
        ValueError: as `texts_of`, or if a question is blank.
    """
    questions = texts_of(batch, "text_input")
    for row, question in enumerate(questions):
        if not question.strip():
            raise ValueError(
                f"question {row} is {question!r}; expected a non-blank question, such as "
                "'What do you hear?'"
            )
    return questions


def more_of(batch: Batch, row: int) -> dict[str, Any]:
    """Further fields of a row's item: `stem`, `protocol`, `labels`, `facts`."""
    more = batch.get("more")
    return more[row] if more else {}


def take_rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """The batch restricted to these text rows; keeps all clips and sets `clip_index`.

    Raises:
        ValueError: if an entry has neither one value per row nor is a key of clips.
    """
    import torch

    total = rows_in(batch)
    index = batch.get("clip_index")
    index = torch.arange(total) if index is None else torch.as_tensor(index)
    taken: dict[str, Any] = {} if "messages" in batch else {"clip_index": index[list(rows)]}
    for key, value in batch.items():
        if key in ("clip_index", "conversations"):  # conversations are read again from the messages
            continue
        if key in CLIP_KEYS or not isinstance(value, list | torch.Tensor):
            taken[key] = value
        elif len(value) != total:
            raise ValueError(f"samples[{key!r}] has {len(value)} entries for {total} text rows")
        else:
            taken[key] = value[list(rows)] if torch.is_tensor(value) else [value[r] for r in rows]
    return taken


def masked(batch: Batch) -> Batch:
    """The batch with the audio of every row masked in attention (not replaced by silence)."""
    import torch

    return {**batch, "audio_mask": torch.zeros(rows_in(batch), dtype=torch.bool)}


#: Keys whose values are read as numbers and stay on the CPU.
COUNT_KEYS = ("frames", "windows", "valid", "clip_index")


def to_device(value: Any, device: torch.device) -> Any:
    """Moves all tensors in nested dicts, lists and tuples, except `COUNT_KEYS`; other values
    are unchanged."""
    import torch

    if torch.is_tensor(value):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: v if k in COUNT_KEYS else to_device(v, device) for k, v in value.items()}
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | int):
        return type(value)(to_device(v, device) for v in value)
    return value
