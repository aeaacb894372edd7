"""The loss over steps as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evidence.answers import Answers
from evidence.tables import LABELS, Runs

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = {
    "plits": "#D55E00",
    "lal": "#0072B2",
    "pal": "#009E73",
    "both": "#E69F00",
    "flamingo": "#CC79A7",
}


def band(runs: list[Answers]) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Steps that all seeds have, with the mean and the standard deviation (0 of one seed)."""
    steps = sorted(set.intersection(*(set(run.curve) for run in runs)))
    losses = np.array([[run.curve[step] for step in steps] for run in runs])
    spread = losses.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(steps))
    return steps, losses.mean(axis=0), spread


def draw(runs: Runs, path: Path) -> None:
    """Write the picture: a line for each type, a band of one standard deviation over its seeds.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # the tables work without matplotlib

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for kind, of_kind in runs.items():
        steps, mean, spread = band(list(of_kind))
        count = len(of_kind)
        label = f"{LABELS[kind]}, {count} seed{'s' if count > 1 else ''}"
        axes.plot(steps, mean, color=COLOURS[kind], label=label)
        axes.fill_between(steps, mean - spread, mean + spread, color=COLOURS[kind], alpha=0.2)
    axes.set(xlabel="step", ylabel="training loss, mean of 50 steps")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
