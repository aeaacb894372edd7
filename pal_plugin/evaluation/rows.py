"""Taking rows out of a batch without touching its clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

#: Entries of a batch that belong to its clips or to the whole of it, not to its text rows.
CLIP_KEYS = ("audio", "audio_tokens", "num_clips", "skipped")


def row_count(samples: dict[str, Any]) -> int:
    """Text rows of a batch."""
    return len(samples["text_input"])


def take_rows(samples: dict[str, Any], rows: Sequence[int]) -> dict[str, Any]:
    """The batch with these text rows only; all clips stay, `clip_index` says who listens to which.

    Raises:
        ValueError: an entry whose length is neither the rows' nor known to belong to the clips.
    """
    total = row_count(samples)
    index = samples.get("clip_index")
    taken: dict[str, Any] = {
        "clip_index": torch.arange(total) if index is None else torch.as_tensor(index)
    }
    taken["clip_index"] = taken["clip_index"][list(rows)]
    for key, value in samples.items():
        if key == "clip_index":
            continue
        if key in CLIP_KEYS or not isinstance(value, list | torch.Tensor):
            taken[key] = value
        elif len(value) != total:
            raise ValueError(f"samples[{key!r}] has {len(value)} entries for {total} text rows")
        else:
            taken[key] = value[list(rows)] if torch.is_tensor(value) else [value[r] for r in rows]
    return taken


def masked(samples: dict[str, Any]) -> dict[str, Any]:
    """The batch with the audio masked out of every row's attention (no silence is played)."""
    return {**samples, "audio_mask": torch.zeros(row_count(samples), dtype=torch.bool)}
