"""Clips with their questions to the batch that models take.

A clip is decoded and encoded once, however many questions are asked about it: text row `b` listens
to clip `clip_index[b]`. A clip that could not be used travels as `SkippedClip`, so that whoever
counts sees all of them, whichever worker met them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pal_plugin.encoders.frontend import AudioFrontend

#: Of an item, what only some tasks read: the question without its choices and how they are put
#: into it, several labels of one clip, other columns of the annotation.
MORE = ("stem", "protocol", "labels", "facts")


@dataclass(frozen=True)
class SkippedClip:
    """A clip that training, or an evaluation that is allowed to, goes without."""

    name: str
    reason: str


def collate_clips(
    clips: Sequence[dict | SkippedClip], collate_audio: Callable[[list], Any] | None = None
) -> dict[str, Any]:
    """Join clips into one batch.

    Args:
        clips: each `{"audio": features, "sample_id": str, "items": [item, ...]}` with items
            `{"question", "answer", "task", "question_type", "answers", "candidates"}`; of these
            `answers` (accepted answers) and `candidates` (closed set of answers) may be absent.
        collate_audio: joins the clips' `audio`; the default is `AudioFrontend.collate`.

    Returns:
        C clips and B rows (B = all items): `audio`; `clip_index` Long[B]; lists of length B
        `text_input`, `text_output`, `task`, `question_type`, `answers`, `candidates` (None where
        open), `more` (of `stem`, `protocol`, `labels` and `facts` those that the item has),
        `sample_id`, `question_id`, `instance_id`; `num_clips` = C; `skipped`, names and reasons
        of the clips left out; `num_unasked`, clips without a question. A batch of nothing else has
        no `audio` and B = 0.
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
    if usable:
        batch["audio"] = (collate_audio or AudioFrontend.collate)([c["audio"] for c in usable])
    return batch


def clips_of(dataset: Any) -> int | None:
    """Number of clips in a dataset, None where it cannot be known."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None


def clips_of_all(datasets: Mapping[str, Any]) -> int | None:
    """Of several datasets together, None where one cannot know."""
    sizes = [clips_of(dataset) for dataset in datasets.values()]
    return None if None in sizes else sum(sizes)


def _items(clip: dict) -> list[tuple[int, dict]]:
    """Items with their number in the clip's full list, which makes an id that sampling keeps."""
    return [(item.get("number", i), item) for i, item in enumerate(clip["items"])]
