"""DCASE 2017 task 4, and the later forms of its table with a header (DESED).

Design choice: a clip's labels are what is asked; the times stay with the clip as `events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pal_plugin.corpora.items import tags
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.prompts import CLASSIFY
from pal_plugin.corpora.records import Corpus, Record, record_id
from pal_plugin.corpora.tables import first_line, read_csv, read_plain_csv
from pal_plugin.errors import ConfigError

_COLUMNS = ("filename", "onset", "offset", "event_label")


def read_dcase17(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`{video}_{start}_{end}.wav`, onset, offset, label, separated by tabs; one row an event.

    The audio is named with a `Y` in front, the table mostly without; both are tried both ways.
    """
    clips: dict[str, list[list]] = {}
    for path in files:
        headed = first_line(path).split("\t")[0].strip() == "filename"
        read = read_csv if headed else read_plain_csv
        for row in read(path, _COLUMNS, delimiter="\t"):
            event = [_seconds(row, "onset", path), _seconds(row, "offset", path)]
            label = row["event_label"].replace("_", " ").strip()
            clips.setdefault(row["filename"], []).append([*event, label])
    records = []
    for name, events in clips.items():
        other = name[1:] if name.startswith("Y") else f"Y{name}"
        labels = list(dict.fromkeys(label for _, _, label in events))
        facts = {"events": events}
        records.append(Record(record_id(name), name, [tags(CLASSIFY, labels)], facts, (other,)))
    found = sorted({label for events in clips.values() for _, _, label in events})
    return Corpus(records, found)


def _seconds(row: dict[str, str], column: str, path: Path) -> float:
    try:
        return float(row[column])
    except ValueError as error:
        raise ConfigError(
            f"{path}: expected seconds as {column} of {row['filename']}, got {row[column]!r}"
        ) from error
