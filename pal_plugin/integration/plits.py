"""PLITS: audio tokens are prepended to the LLM's input and pass through every layer.

The usual baseline. The sequence `[H; h]` enters the LLM; attention and FFN are computed for all of
its positions (PAL paper, section "PLITS"). Everything happens before the LLM, which stays stock.

The one design choice: a row is assembled from its segments without gaps, and what is left over
stands at one end. Clips and texts of a batch differ in length, and padding in between would count
for a sliding window, which counts columns: a short clip would lose weight to padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pal_plugin.attention.layout import row_columns
from pal_plugin.types import AudioTokens


@dataclass(frozen=True)
class Row:
    """Rows of the LLM's input, assembled from segments.

    Args:
        embeds: `[R, T, D]`, T the most tokens that a row has; zero where padded.
        mask: `[R, T]` bool, True where a token is valid.
        columns: where the tokens of each segment went, Long `[R, t]` each; any column for padding.
    """

    embeds: Tensor
    mask: Tensor
    columns: tuple[Tensor, ...]


def assemble(
    segments: Sequence[tuple[Tensor, Tensor]], side: str, columns: Sequence[Tensor] | None = None
) -> Row:
    """Put segments into rows, of which each holds its valid tokens only.

    Args:
        segments: `(features [R, t, D], mask [R, t])` of one type and width; t differs, and padding
            may stand anywhere in a segment.
        side: where a row is padded, "left" (to generate) or "right".
        columns: of each segment Long `[R, t]`, where its valid tokens go before any padding; None:
            one segment behind the other.

    Raises:
        ValueError: no segments, some that differ in rows or width, or another side.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side is {side!r}; expected left or right")
    if not segments:
        raise ValueError("a row needs at least one segment")
    shapes = {(f.shape[0], f.shape[2]) for f, _ in segments}
    if len(shapes) > 1:
        raise ValueError(
            f"segments of {[tuple(f.shape) for f, _ in segments]} must agree in batch and width; "
            "is the connector's output as wide as the LLM?"
        )
    features = torch.cat([f for f, _ in segments], 1)
    valid = torch.cat([mask.bool() for _, mask in segments], 1)
    in_order = columns is None
    columns = (valid.long().cumsum(1) - 1).clamp(min=0) if in_order else torch.cat([*columns], 1)
    if valid.is_meta or (in_order and bool(valid.all())):  # a plan knows no lengths
        return Row(features, valid, tuple(columns.split(_lengths(segments), 1)))
    counts = valid.sum(1, keepdim=True)
    longest = int(counts.max())
    if side == "left":
        columns = columns + longest - counts
    row, at = valid.nonzero(as_tuple=True)
    embeds = features.new_zeros(len(features), longest, features.shape[2])
    embeds = embeds.index_put((row, columns[row, at]), features[row, at])
    column = torch.arange(longest, device=valid.device)
    mask = column < counts if side == "right" else column >= longest - counts
    columns = columns.clamp(0, max(longest - 1, 0))
    return Row(embeds, mask, tuple(columns.split(_lengths(segments), 1)))


def prepend(
    tokens: AudioTokens,
    embeds: Tensor,
    mask: Tensor,
    embedding_scale: float = 1.0,
    side: str = "right",
    places: Tensor | None = None,
) -> Row:
    """Put audio in front of the text, or in it.

    Args:
        tokens: audio, features `[R, m, D]`.
        embeds: text embeddings `[R, n, D]`.
        mask: `[R, n]`, 1 or True where a text token is valid.
        embedding_scale: what the LLM multiplies its inputs with; the audio is divided by it.
        side: see `assemble`.
        places: Long `[R, m]`, how many valid text tokens precede each audio token (`layout.py`);
            None: none.

    Raises:
        ValueError: hidden columns.
    """
    if tokens.hidden is not None:
        raise ValueError(
            "hidden columns are for LAL and cross attention, where all others stay as they are; "
            "in a sequence (PLITS) the audio behind them attends to them: mask them instead"
        )
    audio = tokens.features.to(embeds.dtype) / embedding_scale
    columns = None if places is None else row_columns(mask, tokens.mask, places)
    return assemble([(audio, tokens.mask), (embeds, mask)], side, columns)


def _lengths(segments: Sequence[tuple[Tensor, Tensor]]) -> list[int]:
    return [mask.shape[1] for _, mask in segments]
