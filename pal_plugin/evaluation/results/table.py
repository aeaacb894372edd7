"""Metrics of several runs as Markdown or CSV, with the settings in which the runs differ."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from pal_plugin.evaluation.metrics.bootstrap import Interval
from pal_plugin.evaluation.results.figures import Figure
from pal_plugin.evaluation.results.read import Run
from pal_plugin.utils.tables import markdown_table

#: Settings that name the run or the machine and do not affect answers.
_IGNORED = (
    *("run.name", "run.output_dir", "run.log_freq", "run.num_workers", "run.torch_threads"),
    "run.evaluate",
)
_FIRST = ("run", "split", "task", "figure", "value")
_HEAD = (*_FIRST, "95 %", "audio masked", "with minus without audio", "chance", "n", "clips")
_CSV = (
    *(*_FIRST, "low", "high", "masked_audio", "difference", "difference_low", "difference_high"),
    *("chance", "n", "asked", "clips", "part"),
)


def differing_settings(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Settings that differ: dotted name to one value per run, None if a run lacks it."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in _IGNORED)
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: found for name, found in values.items() if found.count(found[0]) < len(runs)}


def markdown(runs: Sequence[Run], figures: Sequence[Figure]) -> str:
    """Tables of the metrics and of differing settings, then notes and missing metrics."""
    lines = [
        markdown_table([_HEAD, *map(_cells, figures)], "llllr"),
        "",
        "95 %: bootstrap over clips of this one model. With minus without audio: paired, the same "
        "model with its audio masked; an interval that contains 0 shows no use of the audio.",
    ]
    differing = differing_settings(runs)
    if differing:
        rows = [[name, *map(_shown, values)] for name, values in differing.items()]
        head = ["setting", *(run.name for run in runs)]
        lines += ["", markdown_table([head, *rows], "l")]
    elif len(runs) > 1:
        lines += ["", "The runs have the same settings."]
    for run in runs:
        for note in run.notes:
            lines += ["", f"{run.name}: {note}."]
        for name, reason in run.missing.items():
            lines += ["", f"{run.name}: not computed: {name}: {reason}."]
    return "\n".join(lines) + "\n"


def comma_separated(runs: Sequence[Run], figures: Sequence[Figure]) -> str:
    """CSV: one line per metric, and a column for each setting that differs."""
    differing = differing_settings(runs)
    number = {run.name: i for i, run in enumerate(runs)}
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*_CSV, *differing])
    for figure in figures:
        difference = figure.difference
        values = [
            *(figure.run, figure.split, figure.entry, figure.name, figure.value),
            *(*_limits(figure.interval), figure.masked),
            *(difference.value if difference else None, *_limits(difference)),
            *(figure.chance, figure.n, figure.asked, figure.clips, figure.part),
        ]
        settings = [of_runs[number[figure.run]] for of_runs in differing.values()]
        writer.writerow(["" if value is None else value for value in [*values, *settings]])
    return file.getvalue()


def _cells(figure: Figure) -> list[str]:
    difference = figure.difference
    return [
        *(figure.run, figure.split, figure.entry, figure.name),
        *(_number(figure.value), _range(figure.interval), _number(figure.masked)),
        f"{difference.value:+.3f} {_range(difference)}" if difference else "-",
        _number(figure.chance),
        str(figure.n) if figure.n == figure.asked else f"{figure.n} of {figure.asked}",
        str(figure.clips) + ("" if figure.part is None else f" ({figure.part:.1%} of the split)"),
    ]


def _limits(interval: Interval | None) -> tuple[float | None, float | None]:
    return (interval.low, interval.high) if interval else (None, None)


def _range(interval: Interval | None) -> str:
    return f"[{interval.low:.3f}, {interval.high:.3f}]" if interval else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _shown(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
