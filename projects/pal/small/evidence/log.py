"""What a run's log.txt tells of its training."""

from __future__ import annotations

import json
from pathlib import Path

from pal_plugin.training.metric_logger import LOG


def curve(folder: Path) -> dict[int, float]:
    """The mean loss of the last 50 steps, by step; left out where it is no number."""
    lines = ((line["global_step"], line["recent_loss"]) for line in _steps(folder))
    return {int(step): float(loss) for step, loss in lines if loss is not None}


def seconds_trained(folder: Path) -> float | None:
    """How long the run has been trained, over all its interruptions; None where it was not."""
    lines = _steps(folder)
    return float(lines[-1]["seconds"]) if lines else None


def _steps(folder: Path) -> list[dict]:
    path = folder / LOG
    if not path.is_file():
        return []
    # A run that is going may have written half of its last line.
    whole = [line for line in path.read_text("utf-8").split("\n")[:-1] if line]
    return [row for row in map(json.loads, whole) if row.get("kind") == "train_step"]
