"""Axes of pictures in HTML, whose labels keep their size whatever the picture's width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

#: Text and place (0 to 1) of a label.
Tick = tuple[str, float]


def steps(low: float, high: float, most: int) -> list[float]:
    """Round values from `low` to `high`, at most `most` steps apart: of 1, 2 or 5 times a power of
    ten. Empty if there is no room between them."""
    if not high > low:
        return []
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    while (high - low) / size > most:
        size *= 2.5 if f"{size:e}".startswith("2") else 2
    first = math.ceil(low / size - 1e-9)
    last = math.floor(high / size + 1e-9)
    return [number * size for number in range(first, last + 1)]


def of_time(seconds: float, most: int = 6) -> list[Tick]:
    """Labels of an axis from 0 to so many seconds."""
    return [(f"{value:.6g}", value / seconds) for value in steps(0, seconds, most)]


def framed(
    inside: str,
    says: str,
    x: Sequence[Tick],
    y: Sequence[Tick],
    x_name: str,
    y_name: str,
) -> str:
    """A picture with axes.

    Args:
        inside: HTML that fills the area of the picture.
        says: the picture in words, for screen readers.
        x, y: labels, from the left and from the bottom.
        x_name, y_name: with units.
    """
    bottom = "".join(f'<span style="left:{at:.2%}">{escape(text)}</span>' for text, at in x)
    left = "".join(f'<span style="bottom:{at:.2%}">{escape(text)}</span>' for text, at in y)
    return (
        f'<div class="pal-plot" role="img" aria-label="{escape(says)}">'
        f'<div class="pal-y-name">{escape(y_name)}</div><div class="pal-y">{left}</div>'
        f'<div class="pal-area">{inside}</div><div class="pal-x">{bottom}</div>'
        f'<div class="pal-x-name">{escape(x_name)}</div></div>'
    )
