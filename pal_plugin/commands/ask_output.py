"""How `pal ask` shows labels, and its remarks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from pal_plugin.utils.tables import text_table

_WIDTH = 24


def ranking(
    labels: Sequence[str], probabilities: Sequence[float], masked: Sequence[float] | None = None
) -> list[dict[str, Any]]:
    """Labels with probabilities, the most probable first; `masked` are those without the audio."""
    rows = [
        {"label": label, "probability": share}
        for label, share in zip(labels, probabilities, strict=True)
    ]
    for row, share in zip(rows, masked or (), strict=masked is not None):
        row["probability_masked"] = share
    return sorted(rows, key=lambda row: -row["probability"])


def bars(rows: Sequence[dict[str, Any]]) -> str:
    """A table of `ranking` with a bar per probability."""
    keys = [key for key in ("probability", "probability_masked") if key in rows[0]]
    table = [["label", "probability", "", *(["audio masked", ""] if len(keys) > 1 else [])]]
    for row in rows:
        cells = [row["label"]]
        for key in keys:
            cells += [f"{row[key]:.3f}", _bar(row[key])]
        table.append(cells)
    return text_table(table, "lrlrl"[: len(table[0])])


def _bar(share: float) -> str:
    full = "█" if "utf" in (sys.stdout.encoding or "").lower() else "#"
    return full * round(_WIDTH * share)


def noted(text: str) -> None:
    """Print a remark; stdout has answers only."""
    print(text, file=sys.stderr, flush=True)
