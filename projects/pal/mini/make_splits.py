"""Write splits.csv, which assigns clips to training and evaluation splits.

    PAL_DATA=FOLDER python projects/pal/mini/make_splits.py

- esc10: folds 1-3 train, fold 4 val (the folds keep clips of one recording together).
- digits: one speaker is held out of training; 20 takes of each digit are `val_speaker`. Of the
  other speakers, takes 0-4 are `val` and the rest `train`. So one training run gives both
  protocols: by take, and an unseen speaker.
- instruments: stratified, one clip in four of each class is `val`, by a seeded shuffle of the
  recordings.

The result depends only on the CSVs and SEED.
"""

from __future__ import annotations

import csv
import os
import random
import sys
from collections import defaultdict
from pathlib import Path

SEED = 0
COLUMNS = ("filename", "category", "domain", "split", "group")
ESC_VAL_FOLD = "4"
UNSEEN_SPEAKER, UNSEEN_TAKES, VAL_TAKES = "nicolas", 20, 5
INSTRUMENTS_VAL_SHARE = 0.25
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

Row = dict[str, str]


def esc10(audio: Path) -> list[Row]:
    """Published folds; the group is the Freesound recording."""
    folder = "esc10_f1234"
    return [
        _row(
            f"{folder}/{clip['filename']}",
            clip["category"],
            "esc10",
            "val" if clip["fold"] == ESC_VAL_FOLD else "train",
            clip["src_file"],
        )
        for clip in _read(audio / folder / "esc10_f1234.csv")
    ]


def digits(audio: Path) -> list[Row]:
    """Splits by take and by speaker; the group is the speaker. Unused takes are omitted."""
    rows = []
    for clip in _read(audio / "fsdd" / "fsdd.csv"):
        take = int(clip["index"])
        if clip["speaker"] != UNSEEN_SPEAKER:
            split = "val" if take < VAL_TAKES else "train"
        elif take < UNSEEN_TAKES:
            split = "val_speaker"
        else:
            continue
        word = DIGITS[int(clip["digit"])]
        rows.append(_row(f"fsdd/{clip['file']}", word, "digits", split, clip["speaker"]))
    return rows


def instruments(audio: Path) -> list[Row]:
    """Entire recordings are drawn for `val`, class by class; the group is the recording."""
    folder = "music/fsdkaggle2018_instruments"
    by_label: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for clip in _read(audio / folder / "instruments.csv"):
        by_label[clip["label"]][clip["freesound_id"]].append(clip["file"])
    rng, rows = random.Random(SEED), []
    for label, recordings in sorted(by_label.items()):
        wanted = round(INSTRUMENTS_VAL_SHARE * sum(map(len, recordings.values())))
        order = sorted(recordings)
        rng.shuffle(order)
        held_out = 0
        for recording in order:
            split = "val" if held_out < wanted else "train"
            held_out += len(recordings[recording]) if split == "val" else 0
            rows += [
                _row(f"{folder}/{file}", label, "instruments", split, recording)
                for file in recordings[recording]
            ]
    return rows


def shared_groups(rows: list[Row]) -> list[tuple[str, str]]:
    """(domain, group) of recordings in more than one split.

    Digits are exempt: their group is the speaker, whom `train` and `val` share on purpose.
    """
    splits = defaultdict(set)
    for row in rows:
        if row["domain"] != "digits":
            splits[row["domain"], row["group"]].add(row["split"])
    return sorted(key for key, found in splits.items() if len(found) > 1)


def make_rows(audio: Path) -> list[Row]:
    """All rows, in a fixed order.

    Raises:
        ValueError: a recording is in two splits.
    """
    rows = esc10(audio) + digits(audio) + instruments(audio)
    if shared := shared_groups(rows):
        raise ValueError(f"recordings in more than one split: {shared}")
    return sorted(rows, key=lambda row: (row["domain"], row["split"], row["filename"]))


def _row(filename: str, label: str, domain: str, split: str, group: str) -> Row:
    category = label.replace("_", " ").lower()
    return dict(zip(COLUMNS, (filename, category, domain, split, group), strict=True))


def _read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> int:
    if "PAL_DATA" not in os.environ:
        print("set PAL_DATA to the folder that holds audio/ (see README.md)", file=sys.stderr)
        return 2
    rows = make_rows(Path(os.environ["PAL_DATA"]) / "audio")
    path = Path(__file__).with_name("splits.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    counts = defaultdict(int)
    for row in rows:
        counts[row["domain"], row["split"]] += 1
    for (domain, split), count in sorted(counts.items()):
        print(f"{domain:<12} {split:<12} {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
