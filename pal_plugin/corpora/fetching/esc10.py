"""ESC-10: ten classes of environmental sound in five folds, from the repository with the audio."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.audio.decoding import decode
from pal_plugin.corpora.fetching.archive import Archive, Clip, csv_text, read_table

#: ESC-50's target and category of each folder.
_KINDS = {
    "001 - Dog bark": (0, "dog"),
    "002 - Rain": (10, "rain"),
    "003 - Sea waves": (11, "sea_waves"),
    "004 - Baby cry": (20, "crying_baby"),
    "005 - Clock tick": (38, "clock_tick"),
    "006 - Person sneeze": (21, "sneezing"),
    "007 - Helicopter": (40, "helicopter"),
    "008 - Chainsaw": (41, "chainsaw"),
    "009 - Rooster": (1, "rooster"),
    "010 - Fire crackling": (12, "crackling_fire"),
}
_PATH = re.compile(r"(?P<kind>[^/]+)/(?P<fold>[1-5])-(?P<source>\d{1,9})-(?P<take>[A-Z])\.ogg")
_CSV = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
_CREDITS = (
    *("filename", "source_path", "sha256", "title", "author", "licence", "licence_url", "url"),
)
_LICENCE_URLS = {
    "CC0": "http://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY": "http://creativecommons.org/licenses/by/3.0/",
    "CC-Sampling+": "http://creativecommons.org/licenses/sampling+/1.0/",
}
#: The fold without known hashes; the recipes do not train on it.
_LAST_FOLD = "5"


class Esc10(Archive):
    """Folds 1 to 4 go to `esc10_f1234.csv`, which the recipes use; fold 5 has its own CSV."""

    name = "esc10"
    about = "ESC-10: 400 clips of 5 s, ten kinds of environmental sound"
    repository = "karolpiczak/ESC-10"
    commit = "553c8f1743b9dba6b282e1323c3ca8fa76923448"
    megabytes = 41
    licence = "CC BY 3.0 as a set; clips are CC0, CC BY 3.0 or CC Sampling+ 1.0 (attribution.csv)"
    licence_url = "http://creativecommons.org/licenses/by/3.0/"
    changes = "files renamed as in ESC-50, their bytes unchanged; CSVs added"
    folder = "esc10_f1234"
    unknown = "fold 5"

    def known(self) -> list[Clip]:
        """Clips of folds 1 to 4."""
        return [Clip(r["path"], _name(r["path"]), r["sha256"]) for r in read_table("esc10.csv")]

    def other(self, path: str) -> Clip | None:
        """A clip of fold 5."""
        found = _PATH.fullmatch(path)
        if not found or found["kind"] not in _KINDS or found["fold"] != _LAST_FOLD:
            return None
        return Clip(path, _name(path), None)

    def digest(self, data: bytes) -> str:
        """SHA-256 of the bytes, which are kept unchanged; decodes them as a check."""
        decode(data)
        return hashlib.sha256(data).hexdigest()

    def kept(self, data: bytes) -> bytes:
        """The bytes unchanged."""
        return data

    def tables(self, clips: Sequence[Clip], folder: Path) -> dict[str, str]:
        """The two CSVs in ESC-50's columns, and the attribution of each clip."""
        parts: dict[str, list[dict]] = {"esc10_f1234.csv": [], "esc10_f5.csv": []}
        facts = {row["path"]: row for row in read_table("esc10.csv")}
        credits_ = []
        for clip in sorted(clips, key=lambda clip: clip.name):
            found = _PATH.fullmatch(clip.path)
            target, category = _KINDS[found["kind"]]
            values = (clip.name, found["fold"], target, category, True)
            row = dict(zip(_CSV, (*values, found["source"], found["take"]), strict=True))
            last = found["fold"] == _LAST_FOLD
            parts["esc10_f5.csv" if last else "esc10_f1234.csv"].append(row)
            made = facts.get(clip.path) or {"url": f"https://freesound.org/s/{found['source']}/"}
            row = {name: made.get(name, "") for name in _CREDITS}
            row |= {"filename": clip.name, "source_path": clip.path}
            row["licence_url"] = _LICENCE_URLS.get(row["licence"], "")
            credits_.append(row)
        return {
            **{name: csv_text(_CSV, rows) for name, rows in parts.items() if rows},
            "attribution.csv": csv_text(_CREDITS, credits_),
        }


def _name(path: str) -> str:
    """`FOLD-SOURCE-TAKE-TARGET.ogg`."""
    found = _PATH.fullmatch(path)
    return f"{found['fold']}-{found['source']}-{found['take']}-{_KINDS[found['kind']][0]}.ogg"
