"""Curves of a run: training loss over steps, metrics over evaluations.

Made from `log.txt` alone, so that old runs can be plotted too.
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
#: More lines than this make the legend unreadable.
_MOST_LINES = 10
_MASKED = ", audio masked"


def read_log(folder: Path) -> tuple[list[dict], list[tuple[int, str, dict]]]:
    """`(log lines of training steps, (step, split, metrics by entry) of each evaluation)`.

    Args:
        folder: a run folder with a `log.txt`.

    A resumed run may log a step twice; the later line counts.
    """
    steps: dict[int, dict] = {}
    evaluations: dict[tuple[int, str], dict] = {}
    for line in (folder / LOG).read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # partial last line of a killed process
            continue
        kind = entry.get("kind")
        if kind == "train_step":
            steps[entry["global_step"]] = entry
        elif kind != "train":
            figures = {name: of for name, of in entry.items() if isinstance(of, Mapping)}
            evaluations[max(steps, default=0), kind] = figures
    return [steps[n] for n in sorted(steps)], [(*key, of) for key, of in evaluations.items()]


def pictures(folder: Path) -> list[Path]:
    """Paths of `curves.png`, drawn now, and of the evaluation's PNG files in `result/`.

    Without matplotlib, or where drawing fails, the curves are skipped, and the log says so.
    """
    try:
        curves = plot_curves(folder)
    except ConfigError as error:
        logging.info("skipping %s: %s", CURVES, error)
        curves = None
    except Exception as error:  # whatever it is, the run itself is complete
        logging.warning("no %s: %s", CURVES, error, exc_info=error)
        curves = None
    return [*([curves] if curves else []), *sorted((folder / "result").glob("*.png"))]


def plot_curves(folder: Path) -> Path | None:
    """Write `curves.png` into a run folder and return its path; None where nothing was trained.

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
        panels[1].set(title="evaluations", xlabel="step", ylabel="figure", xlim=(0, None))
        panels[1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1.0))
    for axes in panels:
        axes.grid(alpha=0.3)
    path = folder / CURVES
    figure.savefig(path, dpi=100)
    return path


def _figures(evaluations: Iterable[tuple[int, str, dict]]) -> Iterable[tuple[str, list]]:
    """`(name, [(step, value)])` of each task's headline metric, and of its masked-audio control."""
    found: dict[str, list[tuple[int, Any]]] = {}
    for step, split, entries in evaluations:
        for entry, figures in entries.items():
            if "/" in entry and "n" in figures and entry.split("/")[0] in entries:
                continue  # one dataset of a task whose average is drawn
            name = next((f for f in HEADLINE if f in figures), None)
            names = [name, f"{name}_masked_audio", "accuracy_said"] if name else []
            for one in names:
                if isinstance(figures.get(one), int | float):
                    label = one.replace("_masked_audio", _MASKED).replace("_", ", ")
                    found.setdefault(f"{split} {entry} {label}", []).append((step, figures[one]))
    return found.items()
