"""Text tables: aligned for a terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def text_table(rows: Iterable[Sequence[Any]], align: str, rule: bool = True) -> str:
    """Rows of cells as aligned lines, two spaces between the columns.

    Args:
        rows: equally long.
        align: "l" or "r" per column, such as "llr"; the last one applies to all that follow.
        rule: whether the first row is a header, with a line below it.
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
    """Rows of cells as a Markdown table, the first one as header; `align` as in `text_table`."""
    lines = [
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows
    ]
    count = len(rows[0])
    sides = align + align[-1] * (count - len(align))
    lines.insert(1, "| " + " | ".join({"l": "---", "r": "---:"}[side] for side in sides) + " |")
    return "\n".join(lines)
