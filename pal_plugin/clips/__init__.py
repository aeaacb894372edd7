"""A few real clips to try a model on: CC0 or public domain, attributed in `clips.csv`.

No recipe in this repository trains on them: sounds are from ESC-10's fold 4, instruments from the
validation clips of `projects/pal/mini/splits.csv`, and no recipe uses recorded sentences.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Clip:
    """A clip and its origin.

    Attributes:
        name: the argument of `clip`.
        path: the audio file.
        label: the correct answer; the transcript for speech.
        question: the question that the label answers.
        title, author, url: of the original.
        licence, licence_url: its licence.
        sha256: SHA-256 of the file, as hex.
        changed: modifications made to the original.
    """

    name: str
    path: Path
    label: str
    question: str
    title: str
    author: str
    licence: str
    licence_url: str
    url: str
    sha256: str
    changed: str


def clips() -> list[Clip]:
    """All clips."""
    with (FOLDER / "clips.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [Clip(Path(row["file"]).stem, FOLDER / row.pop("file"), **row) for row in rows]


def clip(name: str) -> Path:
    """The file of a clip: `model.ask(clip("dog"), "What do you hear?")`.

    Raises:
        ConfigError: if there is no clip of this name.
    """
    known = {entry.name: entry.path for entry in clips()}
    if name not in known:
        raise ConfigError(f"no clip {name!r} in the package. {did_you_mean(name, [*known])}")
    return known[name]
