"""Collates clips and their questions into model batches.

A clip is decoded and encoded once, however many questions it has: text row `b` uses clip
`clip_index[b]`. A conversation refers to its clips by number. Unusable clips travel through the
DataLoader as `SkippedClip`, so that they are all counted, whichever worker skipped them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.utils.messages import clips_of as clips_in_messages
from pal_plugin.utils.messages import with_clips

#: Optional item fields that only some tasks read: the stem and template of multiple choice, the
#: labels of a multi-label clip, other annotation columns.
MORE = ("stem", "protocol", "labels", "facts")


@dataclass(frozen=True)
class SkippedClip:
    """A clip that is skipped in training, or in evaluation with `allow_missing`."""

    name: str
    reason: str


def collate_clips(
    clips: Sequence[dict | SkippedClip], collate_audio: Callable[[list], Any] | None = None
) -> dict[str, Any]:
    """Collates samples into a batch of B rows, one per item.

    Args:
        clips: each `{"audio": features, "sample_id": str, "items": [item, ...]}` with items
            `{"question", "answer", "task", "question_type", "answers", "candidates"}`, of which
            `answers` (accepted answers) and `candidates` (closed set of answers) are optional.
            Items with `messages` are conversations about the clips of `audio`, a list of features.
        collate_audio: joins the clips' `audio`; defaults to `AudioFrontend.collate`.

    Returns:
        `audio`; `clip_index` long [B], values 0..C-1, or, if any row is a conversation, `messages`
        of all rows (`batch.Batch`); lists of length B `text_input`,
        `text_output`, `task`, `question_type`, `answers`, `candidates` (None if open), `more` (the
        item's `stem`, `protocol`, `labels` and `facts`, where set), `sample_id`, `question_id`,
        `instance_id`; `num_clips`, the number of samples; `skipped`, names and reasons of skipped
        ones; `num_unasked`, those without a question. Without any clip, `audio` is absent.
    """
    usable = [clip for clip in clips if not isinstance(clip, SkippedClip) and clip["items"]]
    rows = [(c, number, item) for c, clip in enumerate(usable) for number, item in _items(clip)]
    batch: dict[str, Any] = {
        "clip_index": torch.tensor([c for c, _, _ in rows], dtype=torch.long),
        "text_input": [item["question"] for _, _, item in rows],
        "text_output": [item["answer"] for _, _, item in rows],
        "task": [item["task"] for _, _, item in rows],
        "question_type": [item.get("question_type") or item["task"] for _, _, item in rows],
        "answers": [list(item.get("answers") or [item["answer"]]) for _, _, item in rows],
        "candidates": [item.get("candidates") for _, _, item in rows],
        "more": [{k: item[k] for k in MORE if k in item} for _, _, item in rows],
        "sample_id": [usable[c]["sample_id"] for c, _, _ in rows],
        "question_id": [f"{usable[c]['sample_id']}#{number}" for c, number, _ in rows],
        "num_clips": len(usable),
        "num_unasked": sum(not isinstance(c, SkippedClip) and not c["items"] for c in clips),
        "skipped": [f"{s.name} ({s.reason})" for s in clips if isinstance(s, SkippedClip)],
    }
    batch["instance_id"] = list(batch["question_id"])
    features, first = [], []
    for clip in usable:
        first.append(len(features))
        features += clip["audio"] if isinstance(clip["audio"], list) else [clip["audio"]]
    if features:
        batch["audio"] = (collate_audio or AudioFrontend.collate)(features)
    if any("messages" in item for _, _, item in rows):
        del batch["clip_index"]
        batch["messages"] = [_conversation(item, first[c]) for c, _, item in rows]
    return batch


def _conversation(item: dict, first: int) -> list[dict]:
    """The messages of an item up to its last question; its clips are numbered from `first` on."""
    asked = {"type": "text", "text": item["question"]}
    single = [{"role": "user", "content": [{"type": "audio", "audio": 0}, asked]}]
    messages = item["messages"][:-1] if "messages" in item else single
    return with_clips(messages, [first + number for number in clips_in_messages(messages)])


def clips_of(dataset: Any) -> int | None:
    """Number of clips in a dataset; None if it is not known."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None


def audio_clips_of(dataset: Any) -> int | None:
    """Number of clips of audio in a dataset, of which a conversation may have several; None if it
    is not known."""
    count = getattr(dataset, "audio_clips", None)
    return clips_of(dataset) if count is None else count()


def clips_of_all(datasets: Mapping[str, Any]) -> int | None:
    """Total number of clips of several datasets; None if one is not known."""
    sizes = [clips_of(dataset) for dataset in datasets.values()]
    return None if None in sizes else sum(sizes)


def _items(clip: dict) -> list[tuple[int, dict]]:
    """Items with their index in the clip's full list, so that ids do not depend on sampling."""
    return [(item.get("number", i), item) for i, item in enumerate(clip["items"])]
