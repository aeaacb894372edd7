"""From lists to tensors: padded ids, and which clip each row is about."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pal_plugin.batch import Batch


def pad_ids(
    rows: list[list[int]], side: str, pad_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Ids and mask `[R, n]`, padded on the "left" or the "right"."""
    ids = [torch.tensor(row) for row in rows]
    kwargs = {"batch_first": True, "padding_side": side}
    padded = pad_sequence(ids, padding_value=pad_id, **kwargs)
    mask = pad_sequence([torch.ones_like(row) for row in ids], padding_value=0, **kwargs)
    return padded.to(device), mask.to(device)


def which_clip(samples: Batch, clips: int, rows: int) -> Tensor | None:
    """The clip of each text row, Long `[R]`; None where it goes without saying.

    That is one row per clip, one clip for all rows, or as many rows for each clip in turn: then
    nothing is copied per row.

    Raises:
        ValueError: neither that nor `samples["clip_index"]`.
    """
    index = samples.get("clip_index")
    if index is None:
        if clips in (rows, 1):
            return None
        raise ValueError(
            f"{_counted(clips, 'clip')} and {_counted(rows, 'question')}; expected one question "
            "per clip, one clip for all questions, or samples['clip_index'] to say which clip each "
            "question is about"
        )
    index = torch.as_tensor(index, dtype=torch.long, device="cpu")
    if index.shape != (rows,) or bool(((index < 0) | (index >= clips)).any()):
        raise ValueError(
            f"clip_index is {index.tolist()}; expected {rows} numbers in 0..{clips - 1}, one for "
            "each question"
        )
    if rows % clips == 0:
        in_turn = torch.arange(clips).repeat_interleave(rows // clips)
        if torch.equal(index, in_turn):
            return None
    return index


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
