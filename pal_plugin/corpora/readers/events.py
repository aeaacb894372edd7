"""DCASE 2017 task 4, and the later forms of its table with a header (DESED).

Design choice: a clip's labels are what is asked; the times stay with the clip as `events`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pal_plugin.corpora.items import checked_text, tags
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.prompts import CLASSIFY
from pal_plugin.corpora.records import Corpus, Record, record_id
from pal_plugin.corpora.tables import first_line, listed, read_csv, read_plain_csv, seconds

_COLUMNS = ("filename", "onset", "offset", "event_label")


def read_dcase17(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`{video}_{start}_{end}.wav`, onset, offset, label, separated by tabs; one row an event.

    The audio is named with a `Y` in front, the table mostly without; both are tried both ways.
    """
    clips: dict[str, list[list]] = {}
    problems: list[str] = []
    for path in files:
        headed = first_line(path).split("\t")[0].strip() == "filename"
        read = read_csv if headed else read_plain_csv
        for row in read(path, _COLUMNS, delimiter="\t"):
            with listed(problems, row):
                label = checked_text(row["event_label"].replace("_", " "), "event_label")
                event = [seconds(row, "onset"), seconds(row, "offset"), label]
                clips.setdefault(row["filename"], []).append(event)
    records = []
    for name, events in clips.items():
        other = name[1:] if name.startswith("Y") else f"Y{name}"
        labels = list(dict.fromkeys(label for _, _, label in events))
        facts = {"events": events}
        records.append(Record(record_id(name), name, [tags(CLASSIFY, labels)], facts, (other,)))
    found = sorted({label for events in clips.values() for _, _, label in events})
    return Corpus(records, found, problems)
