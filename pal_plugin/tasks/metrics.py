"""Counting answers: what was right, what it would be with the audio masked, and what chance gives.

Needs no LAVIS. Every entry carries `n`. An accuracy is shown beside `chance`, the share of the
largest class among the references: what a model that knows the question and never listens can
reach. Of a task with several types of question it is the mean of the types' shares, because such
a model may answer each type by its own largest class.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Sequence

from pal_plugin.errors import ConfigError
from pal_plugin.merging import did_you_mean

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans({c: " " for c in string.punctuation if c != "'"})


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles (unless nothing else is left), single spaces."""
    bare = " ".join(text.lower().translate(_PUNCTUATION).replace("'", "").split())
    return " ".join(_ARTICLES.sub(" ", bare).split()) or bare


def is_correct(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the accepted answers after `normalise`."""
    return normalise(prediction) in {normalise(answer) for answer in answers}


def summarise(rows: Sequence[dict], *, masked: bool) -> dict[str, dict]:
    """Entries by task, and by `task/question_type` where a task has several.

    Args:
        rows: what `PalInstructTask.valid_step` makes, of any number of batches. Rows with a
            `dataset` get entries `dataset/task[/question_type]`.
        masked: whether the rows were answered with masked audio too.
    """
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(_task_name(row), []).append(row)
    entries = {}
    for name, group in groups.items():
        types: dict[str, list[dict]] = {}
        for row in group:
            types.setdefault(row["question_type"], []).append(row)
        whole = entries[name] = _entry(group, masked)
        parts = {kind: _entry(part, masked) for kind, part in sorted(types.items())}
        if "chance" in whole:
            total = sum(part["chance"] * part["n"] for part in parts.values())
            whole["chance"] = total / whole["n"]
        if len(parts) > 1:
            entries.update({f"{name}/{kind}": part for kind, part in parts.items()})
    return entries


def task_names(rows: Sequence[dict]) -> list[str]:
    """The entries of `summarise` that stand for whole tasks."""
    return list(dict.fromkeys(map(_task_name, rows)))


def select(entries: dict[str, dict], select_by: str, tasks: Sequence[str]) -> float:
    """The number by which the best checkpoint is chosen; larger is better.

    Args:
        entries: of `summarise`.
        select_by: a figure ("accuracy", "loss", "wer"), averaged over the tasks that have it, or
            one entry's figure ("classification.accuracy"). Loss, perplexity and WER count negative.
        tasks: names of the entries to average over.

    Raises:
        ConfigError: no entry has this figure.
    """
    entry, _, figure = select_by.rpartition(".")
    names = [entry] if entry else tasks
    values = [entries[n][figure] for n in names if n in entries and figure in entries[n]]
    values = [value for value in values if value is not None]
    if not values:
        known = {f for values in entries.values() for f in values if f != "n"}
        known |= {f"{name}.{f}" for name, values in entries.items() for f in values if f != "n"}
        raise ConfigError(
            f"run.select_by is {select_by!r}, which this evaluation does not give. "
            f"{did_you_mean(select_by, sorted(known))}"
        )
    mean = sum(values) / len(values)
    return -mean if figure.split("_")[0] in ("loss", "wer", "perplexity") else mean


def _task_name(row: dict) -> str:
    return f"{row['dataset']}/{row['task']}" if "dataset" in row else row["task"]


def _entry(rows: list[dict], masked: bool) -> dict:
    task = rows[0]["task"]
    passes = {"": ""} | ({"_masked_audio": "_masked"} if masked else {})
    entry: dict[str, float | int | None] = {}
    for suffix, key in passes.items():
        if task == "caption":
            loss = sum(row[f"loss{key}"] for row in rows) / len(rows)
            entry[f"loss{suffix}"] = loss
            entry[f"perplexity{suffix}"] = math.exp(min(loss, 700.0))
        elif task == "transcript":
            entry[f"wer{suffix}"] = word_error_rate(
                [row["reference"] for row in rows], [row[f"prediction{key}"] for row in rows]
            )
        else:
            right = sum(is_correct(row[f"prediction{key}"], row["answers"]) for row in rows)
            entry[f"accuracy{suffix}"] = right / len(rows)
    if task not in ("caption", "transcript"):
        classes = Counter(normalise(row["reference"]) for row in rows)
        entry["chance"] = max(classes.values()) / len(rows)
    entry["n"] = len(rows)
    return entry


def word_error_rate(references: Sequence[str], predictions: Sequence[str]) -> float | None:
    """Errors per reference word over all rows, after `normalise`; None without reference words."""
    try:
        import jiwer
    except ImportError as error:
        raise ConfigError(
            "word error rates need jiwer: pip install jiwer, or leave transcripts out by "
            "datasets.NAME.tasks.transcript=0"
        ) from error
    pairs = [(normalise(r), normalise(p)) for r, p in zip(references, predictions, strict=True)]
    pairs = [(r, p) for r, p in pairs if r]
    if not pairs:
        return None
    return float(jiwer.wer([r for r, _ in pairs], [p for _, p in pairs]))
