"""Two plots as in the paper's figure 1: training speed and memory against m.

`python -m benchmarks.plots RESULT.json...` draws them for results written without plots.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.variants import LABELS

_MIB = 2**20
# Okabe and Ito's color-blind safe palette.
_COLOURS = {
    "text-only": "#000000",
    "plits": "#D55E00",
    "lal": "#0072B2",
    "lal-kept": "#56B4E9",
    "pal": "#009E73",
    "flamingo": "#CC79A7",
    "qwen2audio": "#E69F00",
}

_STYLES = (
    {"label": "solid", "linestyle": "-", "marker": "o", "markersize": 4},
    {"label": "dashed", "linestyle": "--", "alpha": 0.6},
)


def draw(document: dict, stem: Path) -> list[Path]:
    """Write `<stem>_speed.png` and `<stem>_memory.png`; nothing if no training was measured."""
    rows = [row for row in document["rows"] if row["phase"] == "train"]
    if not rows:
        return []
    where = f"{document['shape']['name']}, {document['device']['name']}"
    speed = {
        "measured": lambda row: (row["speed_over_plits"] or {}).get("median"),
        "ceiling by FLOPs": lambda row: row["flop_ceiling_over_plits"],
    }
    memory = {
        "measured": lambda row: row["gpu_held_bytes"] and row["gpu_held_bytes"] / _MIB,
        "counted": lambda row: row["held_bytes"] / _MIB,
    }
    return [
        _plot(
            rows,
            stem.with_name(f"{stem.name}_speed.png"),
            title=f"Training speed, {where}",
            ylabel="times as fast as PLITS",
            heights=speed,
        ),
        _plot(
            rows,
            stem.with_name(f"{stem.name}_memory.png"),
            title=f"Held from the forward to the backward pass, {where}",
            ylabel="MiB",
            heights=memory,
        ),
    ]


def _plot(
    rows: list[dict],
    path: Path,
    title: str,
    ylabel: str,
    heights: dict[str, Callable[[dict], float | None]],
) -> Path:
    """One panel per tuning, one color per variant.

    Args:
        heights: by meaning, in the order of `_STYLES`; None where a row has no such value.
    """
    from matplotlib.figure import Figure  # the rest works without matplotlib
    from matplotlib.lines import Line2D

    tunings = list(dict.fromkeys(row["tuning"] for row in rows))
    ms = sorted({row["m"] for row in rows})
    figure = Figure(figsize=(5.2 * len(tunings), 4.2), layout="constrained")
    panels = figure.subplots(1, len(tunings), squeeze=False)[0]
    for panel, tuning in zip(panels, tunings, strict=True):
        meanings = []
        for (meaning, height), style in zip(heights.items(), _STYLES, strict=True):
            for name, colour in _COLOURS.items():
                mine = [r for r in rows if (r["tuning"], r["variant"]) == (tuning, name)]
                points = sorted((r["m"], height(r)) for r in mine if height(r) is not None)
                if points:
                    panel.plot(*zip(*points, strict=True), color=colour, **style)
                    meanings.append(f"{style['label']}: {meaning}")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xticks(ms, [str(m) for m in ms])
        panel.minorticks_off()
        panel.set_xlabel(f"audio tokens m (text n = {rows[0]['n']})")
        panel.set_title("; ".join([tuning, *dict.fromkeys(meanings)]), fontsize=9)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(ylabel)
    shown = {row["variant"] for row in rows}
    keys = [Line2D([], [], color=c, label=LABELS[n]) for n, c in _COLOURS.items() if n in shown]
    panels[0].legend(handles=keys, fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=150)
    return path


if __name__ == "__main__":
    for result in map(Path, sys.argv[1:]):
        draw(json.loads(result.read_text("utf-8")), result.with_suffix(""))
