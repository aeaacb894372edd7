"""Padding of token ids, and the assignment of text rows to clips."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pal_plugin.batch import Batch


def pad_ids(
    rows: list[list[int]], side: str, pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids and padding mask, long `[R, n]`, padded on the "left" or "right"."""
    ids = [torch.tensor(row) for row in rows]
    kwargs = {"batch_first": True, "padding_side": side}
    padded = pad_sequence(ids, padding_value=pad_id, **kwargs)
    mask = pad_sequence([torch.ones_like(row) for row in ids], padding_value=0, **kwargs)
    return padded.to(device), mask.to(device)


def which_clip(samples: Batch, clips: int, rows: int) -> Tensor | None:
    """The clip of each text row, long `[R]`; None if it is implied by the order.

    Implied is: one row per clip, one clip for all rows, or equally many rows for each clip in turn;
    nothing is then copied per row.

    Raises:
        ValueError: if it is not implied and `samples["clip_index"]` is missing or invalid.
    """
    index = samples.get("clip_index")
    if index is None:
        if clips in (rows, 1):
            return None
        raise ValueError(
            f"got {_counted(clips, 'clip')} and {_counted(rows, 'question')}; expected one "
            "question per clip, one clip for all questions, or samples['clip_index'] with the "
            "clip of each question"
        )
    index = torch.as_tensor(index, dtype=torch.long, device="cpu")
    if index.shape != (rows,) or bool(((index < 0) | (index >= clips)).any()):
        raise ValueError(
            f"clip_index is {index.tolist()}; expected {rows} numbers in 0..{clips - 1}, one per "
            "question"
        )
    if rows % clips == 0:
        in_turn = torch.arange(clips).repeat_interleave(rows // clips)
        if torch.equal(index, in_turn):
            return None
    return index


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
