"""How a run went, as one picture: the training loss over its steps, the figures of its epochs.

It is made of `log.txt` alone, so that a run of long ago has its picture too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pal_plugin.training.metric_logger import LOG
from pal_plugin.training.report import HEADLINE
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.pictures import new_figure

CURVES = "curves.png"
#: A legend of more is not read.
_MOST_LINES = 10
_MASKED = ", audio masked"


def read_log(folder: Path) -> tuple[list[dict], list[tuple[int, str, dict]]]:
    """`(lines of training steps, (step, split, figures by entry) of each evaluation)`.

    A resumed run may have taken steps twice; the later ones count.
    """
    steps: dict[int, dict] = {}
    evaluations: dict[tuple[int, str], dict] = {}
    for line in (folder / LOG).read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the last line of a process that was killed
            continue
        kind = entry.get("kind")
        if kind == "train_step":
            steps[entry["global_step"]] = entry
        elif kind != "train":
            figures = {name: of for name, of in entry.items() if isinstance(of, Mapping)}
            evaluations[max(steps, default=0), kind] = figures
    return [steps[n] for n in sorted(steps)], [(*key, of) for key, of in evaluations.items()]


def pictures(folder: Path) -> list[Path]:
    """Draw the curves, and find what the evaluation drew; a word where that needs a package."""
    try:
        curves = plot_curves(folder)
    except ConfigError as error:
        logging.info("no curves: %s", error)
        curves = None
    return [*([curves] if curves else []), *sorted((folder / "result").glob("*.png"))]


def plot_curves(folder: Path) -> Path | None:
    """Write `curves.png` into a run folder; None where nothing was trained.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    steps, evaluations = read_log(folder)
    if not steps:
        return None
    lines = dict(_figures(evaluations))
    figure = new_figure(14 if lines else 7, 4)
    panels = figure.subplots(1, 1 + bool(lines), squeeze=False)[0]
    places = [entry["global_step"] for entry in steps]
    recent = [entry.get("recent_loss", entry["loss"]) for entry in steps]
    panels[0].plot(places, [entry["batch_loss"] for entry in steps], alpha=0.3, label="one batch")
    panels[0].plot(places, recent, label="running mean")
    panels[0].set(title=folder.name, xlabel="step", ylabel="training loss")
    panels[0].legend()
    for name, points in list(lines.items())[:_MOST_LINES]:
        style = ":" if name.endswith(_MASKED) else "-"
        panels[1].plot(*zip(*points, strict=True), style, marker="o", label=name)
    if lines:
        panels[1].set(title="evaluations", xlabel="step", xlim=(0, None))
        panels[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.0))
    for axes in panels:
        axes.grid(alpha=0.3)
    path = folder / CURVES
    figure.savefig(path, dpi=100)
    return path


def _figures(evaluations: Iterable[tuple[int, str, dict]]) -> Iterable[tuple[str, list]]:
    """`(name, [(step, value)])` of each task's figure, and of the answers with the audio masked."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for step, split, entries in evaluations:
        for entry, figures in entries.items():
            if "/" in entry and "n" in figures and entry.split("/")[0] in entries:
                continue  # a part of a task that has a line of its own
            name = next((f for f in HEADLINE if f in figures), None)
            names = [name, f"{name}_masked_audio", "accuracy_said"] if name else []
            for one in names:
                if isinstance(figures.get(one), int | float):
                    told = one.replace("_masked_audio", _MASKED).replace("_", ", ")
                    found.setdefault(f"{split} {entry} {told}", []).append((step, figures[one]))
    return found.items()
