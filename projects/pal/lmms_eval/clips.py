"""What the tasks of this folder ask about clips.csv in the working directory."""

import csv
from functools import lru_cache

QUESTION = "What do you hear?"


@lru_cache
def labels() -> list[str]:
    with open("clips.csv", newline="", encoding="utf-8") as file:
        return sorted({row["label"] for row in csv.DictReader(file)})


def audio(doc):
    """The clips of a row; {"array": ..., "sampling_rate": ...} would do as well."""
    return [doc["filename"]]


def question(doc, lmms_eval_specific_kwargs=None):
    return doc.get("question") or QUESTION


def choices(doc):
    return labels()


def right_choice(doc):
    return labels().index(doc["label"])
