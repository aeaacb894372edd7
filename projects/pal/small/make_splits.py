"""Write clips.csv, the splits of ../mini without training clips unusable for shipped weights, and
the credits of the others, which go with the weights (pal_plugin/pocket/small_credits.csv).

    PAL_DATA=FOLDER python projects/pal/small/make_splits.py

Excluded from training by licence: instruments that are not CC0 (their authors' names are not
published with them, so they cannot be credited), ESC-10's Sampling+ clips, and all digits, which
are CC BY-SA. Evaluation splits are unchanged.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
MINI = HERE.parent / "mini" / "splits.csv"
ESC10, INSTRUMENTS = "esc10_f1234", "music/fsdkaggle2018_instruments"
#: Licences in ESC-10's attribution.csv that permit training.
OPEN = ("CC0", "CC-BY")
CREDITS = HERE.parents[2] / "pal_plugin" / "pocket" / "small_credits.csv"


def allowed(rows: list[dict[str, str]], audio: Path) -> list[dict[str, str]]:
    """Rows of splits.csv that are evaluated, or whose licence permits training."""
    esc10 = _licences(audio / ESC10 / "attribution.csv", "filename")
    instruments = _licences(audio / INSTRUMENTS / "instruments.csv", "file")

    def is_open(row: dict[str, str]) -> bool:
        name = Path(row["filename"]).name
        if row["domain"] == "esc10":
            return esc10[name] in OPEN
        return row["domain"] == "instruments" and instruments[name] == "CC0"

    return [row for row in rows if row["split"] != "train" or is_open(row)]


def credits(rows: list[dict[str, str]], audio: Path) -> list[dict[str, str]]:
    """Title, author, licence and source of each training clip."""
    esc10 = {row["filename"]: row for row in _read(audio / ESC10 / "attribution.csv")}
    instruments = {row["file"]: row for row in _read(audio / INSTRUMENTS / "instruments.csv")}
    found = []
    for row in rows:
        if row["split"] != "train":
            continue
        name = Path(row["filename"]).name
        if row["domain"] == "esc10":
            told = {key: esc10[name][key] for key in ("title", "author", "licence", "url")}
            found.append({"dataset": "ESC-10", "clip": name, **told})
        else:
            number = instruments[name]["freesound_id"]
            url = f"https://freesound.org/s/{number}/"
            told = {"title": "", "author": "", "licence": instruments[name]["licence"], "url": url}
            found.append({"dataset": "FSDKaggle2018", "clip": name, **told})
    return found


def _licences(path: Path, key: str) -> dict[str, str]:
    return {row[key]: row["licence"] for row in _read(path)}


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: Iterable[dict[str, str]]) -> None:
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    if "PAL_DATA" not in os.environ:
        print(
            "set PAL_DATA to the folder that holds audio/ (see ../mini/README.md)", file=sys.stderr
        )
        return 2
    rows = _read(MINI)
    audio = Path(os.environ["PAL_DATA"]) / "audio"
    kept = allowed(rows, audio)
    _write(HERE / "clips.csv", kept)
    _write(CREDITS, credits(kept, audio))
    for (domain, split), count in sorted(Counter((r["domain"], r["split"]) for r in kept).items()):
        print(f"{domain:<12} {split:<12} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
