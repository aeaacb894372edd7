"""The attention over a clip for each word of an answer, along the clip's time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from html import escape
from itertools import groupby

from torch import Tensor

from pal_plugin.hosts.page.axes import of_time
from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.pictures import strip, waveform
from pal_plugin.hosts.page.talk import Talk
from pal_plugin.models.attention_weights import AnswerAttention, ClipWeights, attention_weights
from pal_plugin.serving.engine import Engine

NOTES = {
    "What this is": "the weights of the attention over the clip's tokens while each word was "
    "chosen, the mean over heads and layers. The percentage is their sum; the rest of the "
    "attention lies on other tokens.",
    "What it is not": "a proof of what caused the answer. A weight says where values were read, "
    "not whether they mattered; some tokens draw weight whatever they hold, and encoders let each "
    "token know what is around it. Whether the audio matters, the masked answer shows.",
    "What it costs": "one more pass over prompt and answer, for which each layer makes all of its "
    "weights, and the clips encoded again; here {seconds:.1f} s.",
}


def attended(engine: Engine, talk: Talk) -> str:
    """The weights for the last answer of a conversation, as HTML with what it cost.

    Raises:
        ValueError: as `attention_weights`.
    """
    begun = time.perf_counter()
    messages, heard = talk.messages(), talk.turns[-1].heard
    found = engine.call(lambda: attention_weights(engine.model, messages, heard))
    seconds = time.perf_counter() - begun
    notes = "".join(
        f'<p class="pal-note"><b>{name}:</b> {escape(text.format(seconds=seconds))}</p>'
        for name, text in NOTES.items()
    )
    return pictures(found, talk.clips) + notes


def pictures(found: AnswerAttention, clips: Sequence[PageClip]) -> str:
    """A picture for each clip and group of audio tokens."""
    words = found.words()
    return "".join(
        _picture(part, clips[part.clip], words, f"Clip {part.clip + 1}") for part in found.parts
    )


def by_moment(seconds: Tensor, weights: Tensor) -> tuple[list[tuple[float, float]], list[float]]:
    """Tokens of one time joined: `(start, end)` of each moment, and the sum of its tokens.

    Args:
        seconds: `[m, 2]`. weights: `[m]`.
    """
    rows = zip(map(tuple, seconds.tolist()), weights.tolist(), strict=True)
    moments = [(span, sum(w for _, w in of)) for span, of in groupby(rows, lambda row: row[0])]
    return [span for span, _ in moments], [weight for _, weight in moments]


def _picture(
    part: ClipWeights, clip: PageClip, words: list[tuple[str, list[int]]], name: str
) -> str:
    rows = [part.mean[numbers].mean(0) for _, numbers in words]  # [m] for each word
    spans, _ = by_moment(part.seconds, rows[0])
    levels = [by_moment(part.seconds, row)[1] for row in rows]
    most = max(map(max, levels)) or 1.0
    heading = f"{name} ({clip.name}), tokens {part.group!r}, by {part.integration.upper()}"
    ticks = "".join(
        f'<span style="left:{at:.2%}">{escape(text)}</span>' for text, at in of_time(clip.seconds)
    )
    body = "".join(
        _row(word, strip([v / most for v in of], spans, clip.seconds), of, spans)
        for (word, _), of in zip(words, levels, strict=True)
    )
    return (
        f'<figure class="pal-attention"><figcaption>{escape(heading)}</figcaption>'
        f'<div class="pal-row"><span></span><div class="pal-strip">{waveform(clip)}</div>'
        f"<span></span></div>{body}"
        f'<div class="pal-row"><span></span><div class="pal-x">{ticks}</div><span></span></div>'
        f'<p class="pal-x-name">Time (s). A full strip is {most:.2%} of the attention on '
        f"one moment of {spans[0][1] - spans[0][0]:.2f} s.</p></figure>"
    )


def _row(
    word: str, picture: str, levels: Sequence[float], spans: Sequence[tuple[float, float]]
) -> str:
    total = sum(levels)
    start, end = spans[levels.index(max(levels))]
    says = f"{word}: {total:.1%} on these tokens, most from {start:.1f} to {end:.1f} s"
    return (
        f'<div class="pal-row" role="img" aria-label="{escape(says)}">'
        f'<span class="pal-word" title="{escape(word)}">{escape(word)}</span>'
        f'<div class="pal-strip">{picture}</div><span class="pal-share">{total:.1%}</span></div>'
    )
