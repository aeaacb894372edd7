"""Tables of text: aligned for a terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def text_table(rows: Iterable[Sequence[Any]], align: str, rule: bool = True) -> str:
    """Rows of equally many cells as aligned lines, two spaces between the columns.

    Args:
        align: "l" or "r" of each column, such as "llr"; the last one holds for all that follow.
        rule: whether the first row is a head, with a line under it.
    """
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align + align[-1] * (len(widths) - len(align))
    lines = [
        "  ".join(
            cell.ljust(width) if side == "l" else cell.rjust(width)
            for cell, width, side in zip(row, widths, sides, strict=True)
        ).rstrip()
        for row in rows
    ]
    if rule:
        lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def markdown_table(rows: Sequence[Sequence[Any]], align: str) -> str:
    """Rows of equally many cells in Markdown, the first one as head; `align` as of `text_table`."""
    lines = [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    count = len(rows[0])
    sides = align + align[-1] * (count - len(align))
    lines.insert(1, "| " + " | ".join({"l": "---", "r": "---:"}[side] for side in sides) + " |")
    return "\n".join(lines)
