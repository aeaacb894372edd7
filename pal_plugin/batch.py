"""The batch: what datasets make, models take, and tasks and evaluators pass on.

It is a plain dict, as LAVIS's `samples` are, so that foreign tasks and datasets fit; `Batch` says
what may be in it. Models take the first group of keys, the others come along.

Design choice: torch is imported where there are tensors. Whoever counts rows that were answered
long ago (`pal results`) imports this module, and starts without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pal_plugin.types import AudioTokens


class Batch(TypedDict, total=False):
    """C clips and R text rows; row r is about clip `clip_index[r]`. Lists have R entries."""

    #: Features by encoder, joined by `AudioFrontend.collate`; or in any form that
    #: `AudioFrontend.joined` takes (paths, arrays, features of single clips); or an `AudioKV`.
    audio: Any
    #: What the model's `encode_audio` made of `audio`, by group, features [C, N, D].
    audio_tokens: dict[str, AudioTokens]
    #: Bool [R], False where a row does not hear its clip; absent: all hear.
    audio_mask: Tensor
    #: Long [R]; absent: one row a clip, or as many rows for each clip in turn.
    clip_index: Tensor
    text_input: list[str]
    text_output: list[str]
    #: Tokens of `text_input` and `text_output`, where the data workers made them (training).
    prompt_ids: list[list[int]]
    answer_ids: list[list[int]]

    task: list[str]
    question_type: list[str]
    #: Accepted answers, the closed set of answers (None where open), and what only some tasks read.
    answers: list[list[str]]
    candidates: list[list[str] | None]
    more: list[dict[str, Any]]
    sample_id: list[str]
    question_id: list[str]
    instance_id: list[str]
    num_clips: int
    #: Clips without a question; names and reasons of those that could not be used.
    num_unasked: int
    skipped: list[str]


#: Keys that belong to the clips or to the whole batch, not to its text rows.
CLIP_KEYS = ("audio", "audio_tokens", "num_clips", "num_unasked", "skipped")


def rows_in(batch: Batch) -> int:
    """Text rows of a batch, or its clips where there is no text."""
    return len(batch.get("text_input", batch.get("sample_id", ())))


def clips_in(batch: Batch) -> int:
    """Clips of a batch."""
    return int(batch.get("num_clips", rows_in(batch)))


def ids_of(batch: Batch) -> list[str]:
    """Names of its questions, or of its clips."""
    names = batch.get("question_id") or batch.get("sample_id") or ["(samples without ids)"]
    return [str(name) for name in names]


def texts_of(batch: Batch, key: str) -> list[str]:
    """The texts of all rows.

    Raises:
        ValueError: no list of strings, or an empty one.
    """
    if not isinstance(batch, Mapping):
        raise ValueError(
            "expected a batch, {'audio': [clip, ...], 'text_input': ['What do you hear?', ...]}, "
            f"got {type(batch).__name__}"
        )
    texts = batch.get(key)
    if not isinstance(texts, list | tuple):
        raise ValueError(
            f"expected samples[{key!r}] as a list of strings, got {type(texts).__name__}; the "
            f"sample has the keys {sorted(batch)}"
        )
    if not texts:
        raise ValueError(f"samples[{key!r}] is empty; expected at least one text")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"samples[{key!r}][{row}] is {text!r}; expected text")
    return list(texts)


def questions_of(batch: Batch) -> list[str]:
    """`text_input` of all rows, each with something in it.

    Raises:
        ValueError: as `texts_of`, or a question that is empty or blank.
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
    """What a row's dataset gives beyond the usual: `stem`, `protocol`, `labels`, `facts`."""
    more = batch.get("more")
    return more[row] if more else {}


def take_rows(batch: Batch, rows: Sequence[int]) -> Batch:
    """The batch with these text rows only; all clips stay, `clip_index` says who listens to which.

    Raises:
        ValueError: an entry whose length is neither the rows' nor known to belong to the clips.
    """
    import torch

    total = rows_in(batch)
    index = batch.get("clip_index")
    index = torch.arange(total) if index is None else torch.as_tensor(index)
    taken: dict[str, Any] = {"clip_index": index[list(rows)]}
    for key, value in batch.items():
        if key == "clip_index":
            continue
        if key in CLIP_KEYS or not isinstance(value, list | torch.Tensor):
            taken[key] = value
        elif len(value) != total:
            raise ValueError(f"samples[{key!r}] has {len(value)} entries for {total} text rows")
        else:
            taken[key] = value[list(rows)] if torch.is_tensor(value) else [value[r] for r in rows]
    return taken


def masked(batch: Batch) -> Batch:
    """The batch with the audio masked out of every row's attention (no silence is played)."""
    import torch

    return {**batch, "audio_mask": torch.zeros(rows_in(batch), dtype=torch.bool)}


#: What is read as numbers, and stays on the CPU: lengths of clips, and which rows are about them.
COUNT_KEYS = ("frames", "windows", "valid", "clip_index")


def to_device(value: Any, device: torch.device) -> Any:
    """Move every tensor in nested dicts, lists and tuples but those of `COUNT_KEYS`; the rest
    stays as it is."""
    import torch

    if torch.is_tensor(value):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {k: v if k in COUNT_KEYS else to_device(v, device) for k, v in value.items()}
    if isinstance(value, list | tuple) and value and not isinstance(value[0], str | int):
        return type(value)(to_device(v, device) for v in value)
    return value
