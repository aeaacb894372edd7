"""Where audio stands among the text, in numbers: places, positions, and what each token follows.

A row is text with audio in front of it, in it, or both. The *index* of a token is how many valid
tokens of the row precede it; the *place* of an audio token is the index of the first token behind
it. Audio at place 0 precedes the row. Positions count everything in the order of reading, audio
before the text that follows it; those of audio at place 0 are negative, so that a text with all its
audio in front has the positions of a text alone.

R rows, n tokens of each, B clips or conversations (R is a multiple of B), m audio tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Behind all tokens.
_NOWHERE = torch.iinfo(torch.long).max


def audio_positions(
    mask: Tensor, places: Tensor | None = None, clips: Tensor | None = None
) -> Tensor:
    """Positions of audio tokens, Long `[B, m]`.

    Args:
        mask: bool `[B, m]`, True where a token is valid.
        places: Long `[B, m]`; None: all audio precedes the row.
        clips: Long `[m]`, the clip of each column: clips at one place are read one after the other,
            although their columns may alternate; None: columns are read in their order.
    """
    valid = mask.long()
    if places is None:
        return valid.cumsum(-1) - 1 - valid.sum(-1, keepdim=True)
    order = places if clips is None else places * (int(clips.max()) + 1) + clips
    order = order.argsort(dim=-1, stable=True)
    read = valid.gather(-1, order)
    before = torch.empty_like(order).scatter(-1, order, read.cumsum(-1) - read)
    return places + before - _in_front(mask, places)


def text_positions(index: Tensor, mask: Tensor, places: Tensor) -> Tensor:
    """Positions of the tokens at `index`, Long `[R, n]`, behind the audio in front of them.

    Args:
        mask, places: `[R, m]`, as for `audio_positions`.
    """
    among = torch.where(mask & (places > 0), places, _NOWHERE).sort(-1).values
    return index + torch.searchsorted(among, index.contiguous(), right=True)


def row_columns(mask: Tensor, audio: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Columns of audio and text tokens in the row that they make up, Long `[R, m]` and `[R, n]`.

    Args:
        mask: of the text, `[R, n]`.
        audio: mask of the audio, `[R, m]`.
        places: as for `audio_positions`.
    """
    front = _in_front(audio, places)
    index = (mask.long().cumsum(-1) - 1).clamp(min=0)
    text = text_positions(index, audio, places)
    return audio_positions(audio, places) + front, text + front


def places_in_row(places: Tensor, prefix_mask: Tensor, prefix_places: Tensor) -> Tensor:
    """Places counted in tokens of a row, `[R, m]`, from places counted in tokens of its text.

    The row holds audio of its own (PLITS): all that stands at an earlier place precedes, and what
    stands at the same place follows. Place 0 stays in front of the row.

    Args:
        prefix_mask, prefix_places: `[R, p]`, of the audio in the row.
    """
    earlier = torch.where(prefix_mask, prefix_places, _NOWHERE).sort(-1).values
    moved = places + torch.searchsorted(earlier, places.contiguous(), right=False)
    return torch.where(places > 0, moved, 0)


def text_of(args: tuple, kwargs: dict) -> Tensor:
    """Ids `[R, n]` or embeddings `[R, n, D]` that a decoder is called with."""
    text = kwargs.get("inputs_embeds")
    if text is None:
        text = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
    return text


def text_index(text: Tensor, kwargs: dict) -> Tensor:
    """Index of each token that a decoder is called with, Long `[R, n]`.

    Args:
        text: its ids `[R, n]` or embeddings `[R, n, D]`.
        kwargs: of the call: the position ids count valid tokens, else the mask tells, else the
            tokens are behind those of the cache.
    """
    rows, n = text.shape[:2]
    positions, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if positions is not None:
        return positions.expand(rows, n)
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -n:]
    caches = (kwargs.get(name) for name in ("past_key_values", "cache"))
    cache = next((c for c in caches if c is not None), None)
    past = 0 if cache is None else int(cache.get_seq_length())
    return torch.arange(past, past + n, device=text.device).expand(rows, n)


def _in_front(mask: Tensor, places: Tensor) -> Tensor:
    """How many tokens precede the row, `[B, 1]`."""
    return (mask & (places == 0)).sum(-1, keepdim=True)
