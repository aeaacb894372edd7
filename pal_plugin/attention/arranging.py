"""Clips one below the other, as a batch, and one behind the other, as those of a conversation.

Each group of a context is a span of columns that some layers attend to (`AudioContext.spans`), so
what is joined is joined span by span, features, masks, gains and the K/V of each layer alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pal_plugin.attention.context import AudioContext


def stacked(parts: Sequence[AudioContext]) -> AudioContext:
    """Clips of several contexts of one model, `[B1 + B2 + ..., m, D]`, padded in each span."""
    if len(parts) == 1:
        return parts[0]
    first, (most, joined) = parts[0], _below(parts)
    every = range(len(most))
    gains = None
    if first.gains is not None:  # one of each layer for all columns of a span
        gains = torch.cat([_gain(first, s).expand(-1, most[s]) for s in every], 1)
    return AudioContext(
        joined([part.features for part in parts], every),
        joined([part.mask for part in parts], every),
        first.layers,
        spans=_spans(first, most),
        gains=gains,
        clip_kv=first.clip_kv and _kv_below([part.clip_kv for part in parts], first, joined),
    )


def merged(parts: Sequence[AudioContext]) -> AudioContext:
    """Contexts of texts that were read in several calls, as that of one call, `[B1 + B2 + ..., m,
    D]`: every token keeps its position and its K/V.

    Args:
        parts: with the K/V of their layers (`kv`), and no `places`: the audio precedes what is to
            come. One row of text for each of their clips.
    """
    if len(parts) == 1:
        return parts[0]
    first, (most, joined) = parts[0], _below(parts)
    every = range(len(most))
    positions = [part.positions.expand(len(part), -1) for part in parts]
    return AudioContext(
        joined([part.features for part in parts], every),
        joined([part.mask for part in parts], every),
        first.layers,
        _kv_below([part.kv for part in parts], first, joined),
        _spans(first, most),
        joined(positions, every),
    )


def silent(like: AudioContext, rows: int) -> AudioContext:
    """What `merged` takes for rows of text without audio, beside `like`."""
    index = torch.zeros(rows, dtype=torch.long, device=like.mask.device)
    context = like.select(index)
    return replace(context, mask=torch.zeros_like(context.mask))


def arranged(clips: AudioContext, index: Tensor) -> AudioContext:
    """The clips `index` (Long `[B, K]`, -1 for none) of each conversation, one behind the other in
    each span: `[B, K m, D]`.

    Where they stand is still to be said (`places`, `positions`). Columns that were hidden count for
    no position any more: hide them afterwards.
    """
    index = index.to(clips.mask.device)
    widths, count = _widths(clips), index.shape[1]
    every = range(len(widths))

    def joined(tensors: Sequence[Tensor], spans: Sequence[int]) -> Tensor:
        pieces = tensors[0].split([widths[s] for s in spans], 1)
        return torch.cat([piece[index].flatten(1, 2) for piece in pieces], 1)

    there = torch.cat([(index >= 0).repeat_interleave(width, 1) for width in widths], 1)
    gains = None
    if clips.gains is not None:
        gains = torch.cat([g.repeat(1, count) for g in clips.gains.split(widths, 1)], 1)
    return AudioContext(
        joined([clips.features], every),
        joined([clips.mask], every) & there,
        clips.layers,
        spans=_spans(clips, [count * width for width in widths]),
        gains=gains,
        clip_kv=clips.clip_kv
        and {
            layer: tuple(_by_column([t], joined, _seen(clips, layer)) for t in both)
            for layer, both in clips.clip_kv.items()
        },
    )


def _below(parts: Sequence[AudioContext]) -> tuple[list[int], Callable[..., Tensor]]:
    """Columns of each span, the most of all parts, and a function that puts tensors `[B, m, ...]`
    of some spans one below the other."""
    widths = [_widths(part) for part in parts]
    most = [max(column) for column in zip(*widths, strict=True)]

    def joined(tensors: Sequence[Tensor], spans: Sequence[int]) -> Tensor:
        rows = []
        for tensor, width in zip(tensors, widths, strict=True):
            pieces = tensor.split([width[s] for s in spans], 1)
            rows.append(
                torch.cat([_wider(t, most[s]) for t, s in zip(pieces, spans, strict=True)], 1)
            )
        return torch.cat(rows)

    return most, joined


def _kv_below(
    parts: Sequence[dict], like: AudioContext, joined: Callable[..., Tensor]
) -> dict[int, tuple]:
    """K and V of each layer, one below the other."""
    return {
        layer: tuple(
            _by_column([part[layer][n] for part in parts], joined, _seen(like, layer))
            for n in range(2)
        )
        for layer in parts[0]
    }


def _widths(context: AudioContext) -> list[int]:
    """Columns of each span."""
    return [width for width, _ in context.spans or ((context.mask.shape[1], None),)]


def _spans(context: AudioContext, widths: Sequence[int]) -> tuple | None:
    """The spans of a context with other widths."""
    if context.spans is None:
        return None
    return tuple((w, layers) for w, (_, layers) in zip(widths, context.spans, strict=True))


def _seen(context: AudioContext, layer: int) -> list[int]:
    """The spans that a layer attends to, by number."""
    spans = context.spans or ((0, None),)
    return [n for n, (_, layers) in enumerate(spans) if layers is None or layer in layers]


def _gain(context: AudioContext, span: int) -> Tensor:
    """`[L, 1]`; 1 where the span has no columns to tell."""
    found = context.gains.split(_widths(context), 1)[span]
    return found[:, :1] if found.shape[1] else context.gains.new_ones(len(context.gains), 1)


def _wider(tensor: Tensor, columns: int) -> Tensor:
    """`[B, m, ...]` with zeros (False) behind, up to so many columns."""
    missing = tensor.new_zeros(len(tensor), columns - tensor.shape[1], *tensor.shape[2:])
    return torch.cat([tensor, missing], 1)


def _by_column(
    tensors: Sequence[Tensor], joined: Callable[..., Tensor], spans: Sequence[int]
) -> Tensor:
    """`joined` for keys or values `[B, heads, m, d]`."""
    return joined([t.transpose(1, 2) for t in tensors], spans).transpose(1, 2).contiguous()
