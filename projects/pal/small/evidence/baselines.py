"""What simpler means reach on the same clips, as the scripts for them print it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pal_plugin.evaluation.metrics.bootstrap import Interval, ratio_interval
from pal_plugin.utils.errors import ConfigError

#: File name without .json, and what makes it.
SCRIPTS = {
    "mfcc_svm": "projects/pal/mini/mfcc_svm.py",
    "probe": "projects/pal/small/probe.py",
    "cascade": "projects/pal/small/cascade.py",
    "ceiling": "projects/pal/small/ceiling.py",
}
_SETTINGS = ("settings", "clips", "spoken")
_CASCADE = {"cascade": "cascade: Whisper's transcript, read by the LLM"}
_CASCADE["named"] = "the label searched for in Whisper's transcript"
_CEILING = {"told": "ceiling: the LLM is told the label in words"}
_CEILING["shuffled"] = "the LLM is told another clip's label"
_CEILING["question_alone"] = "the LLM reads the question alone"


@dataclass(frozen=True)
class Baseline:
    """One row of the table.

    Attributes:
        figures: accuracy with its interval and number of clips, by type of question.
    """

    name: str
    figures: dict[str, tuple[Interval, int]]


@dataclass(frozen=True)
class Baselines:
    """What was found in the folder.

    Attributes:
        wer: of the cascade's transcripts, with the number of clips; None where it was not counted.
        missing: files that are not there.
    """

    rows: list[Baseline]
    wer: tuple[float, int] | None
    missing: list[str]


def read_baselines(folder: Path | None, draws: int) -> Baselines:
    """Whatever of `SCRIPTS` the folder holds.

    Raises:
        ConfigError: a file that cannot be read as what its script prints.
    """
    rows, wer, missing = [], None, []
    for name in SCRIPTS:
        path = None if folder is None else folder / f"{name}.json"
        if path is None or not path.is_file():
            missing.append(name)
            continue
        try:
            printed = json.loads(path.read_text("utf-8"))
            rows += [
                Baseline(row, {k: _accuracy(v, draws) for k, v in of_row.items()})
                for row, of_row in _rows(name, printed)
            ]
            if "spoken" in printed:
                wer = float(printed["spoken"]["wer"]), int(printed["spoken"]["n"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path} is not what {SCRIPTS[name]} prints ({type(error).__name__}: {error})"
            ) from error
    return Baselines(rows, wer, missing)


def _rows(name: str, printed: dict[str, Any]) -> Iterator[tuple[str, dict[str, dict]]]:
    figures = {key: value for key, value in printed.items() if key not in _SETTINGS}
    if name == "mfcc_svm":
        yield "MFCC + SVM", figures
    elif name == "probe":
        for layer, of_layer in figures.items():
            place = "the end" if layer == "end" else f"layer {layer}"
            yield f"linear probe of Whisper, {place}", of_layer
    else:
        for key, label in (_CASCADE if name == "cascade" else _CEILING).items():
            yield label, {domain: of_domain[key] for domain, of_domain in figures.items()}


def _accuracy(figure: dict[str, float], draws: int) -> tuple[Interval, int]:
    count = int(figure["n"])
    right = round(figure["accuracy"] * count)
    hits = [1.0] * right + [0.0] * (count - right)
    return ratio_interval(hits, [1.0] * count, range(count), draws=draws), count
