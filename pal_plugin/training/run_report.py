"""`report.html`: what a run was, what it cost and what came out, in one file at its end."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pal_plugin.config.trained import FINISHED
from pal_plugin.evaluation.examples import readable
from pal_plugin.evaluation.results import page
from pal_plugin.evaluation.results.figures import Figure, figures_of
from pal_plugin.evaluation.results.read import Run, read_run
from pal_plugin.training.curves import read_log
from pal_plugin.training.metric_logger import LOG
from pal_plugin.training.run_compute import compute_texts
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import read_jsonl, replace_text

REPORT = "report.html"
#: Figures of the report at the end of a run; `pal results` shows all, with more samples.
_FIGURES = ("accuracy", "accuracy_said", "accuracy_ranked", "map", "wer", "loss", "bleu_4", "cider")
_DRAWS = 200


def write_report(folder: Path, splits: Iterable[str]) -> Path | None:
    """Write the report of a finished run; None, and a log line, if it cannot be written.

    Args:
        folder: a run folder.
        splits: those that were evaluated; none: a report of the training alone.
    """
    try:
        names = list(splits)
        answers = [read_jsonl(folder / "result" / f"{split}.jsonl") for split in names]
        if not all(map(readable, answers)):
            logging.info("no %s: the answers are those of another task", REPORT)
            return None
        run = read_run(folder, evaluated=bool(names))
        figures = figures_of(run, draws=_DRAWS, wanted=_FIGURES)
        return write_page(folder / REPORT, [run], figures)
    except Exception as error:  # whatever it is, the run itself is complete
        known = isinstance(error, ConfigError | OSError)
        logging.warning("no %s: %s", REPORT, error, exc_info=None if known else error)
        return None


def write_page(
    path: Path, runs: Sequence[Run], figures: Sequence[Figure], *, worst: bool = False
) -> Path:
    """Write the page of several runs; for `worst` see `results.page.html`."""
    costs = {run.name: cost_of(run.folder) for run in runs}
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, page.html(runs, figures, costs, worst=worst))
    return path


def cost_of(folder: Path) -> dict[str, str]:
    """Parameters, compute, steps, time, rate and memory of a run, as texts, where known."""
    found: dict[str, str] = {}
    facts = _finished(folder)
    parameters = facts.get("parameters") or {}
    for kind in ("trainable", "total"):
        if kind in parameters:
            found[f"parameters, {kind}"] = f"{parameters[kind]:,}"
    steps = read_log(folder)[0] if (folder / LOG).is_file() else []
    if steps:
        last = steps[-1]
        found["steps"] = f"{last['global_step']:,}"
        for name, key, form in (
            ("clips heard in training", "clips", "{:,}"),
            ("clips per second", "clips_per_s", "{:.1f}"),
            ("seconds of audio per second", "audio_s_per_s", "{:.1f}"),
            ("waiting for data", "data_wait", "{:.1%} of the last epoch"),
        ):
            if isinstance(last.get(key), int | float):
                found[name] = form.format(last[key])
        if isinstance(last.get("run_seconds"), int | float):
            found["training time"] = in_words(last["run_seconds"])
        memory = [step["memory_gib"] for step in steps if step.get("memory_gib") is not None]
        if memory:
            found["peak memory of a process"] = f"{max(memory):.2f} GiB"
    if isinstance(facts.get("seconds"), int | float):
        found["time in all, with evaluation"] = in_words(facts["seconds"])
    if facts.get("device"):
        found["device"] = str(facts["device"])
    if facts.get("processes", 1) > 1:
        found["processes"] = str(facts["processes"])
    return found | _compute(folder, int(facts.get("processes") or 1))


def in_words(seconds: float) -> str:
    """Seconds as "42 s", "12 min 05 s" or "1 h 02 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _compute(folder: Path, processes: int) -> dict[str, str]:
    try:
        return compute_texts(folder, processes)
    except Exception as error:  # a model of any kind, also a host's: its run is complete
        known = isinstance(error, ConfigError | OSError)
        why = str(error) if known else f"{type(error).__name__}: {error}"
        logging.info("no FLOPs in the report: %s", why)
        return {}


def _finished(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / FINISHED).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
