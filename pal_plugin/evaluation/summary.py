"""Entries of `metrics.json` from answered rows, and the metric that selects the best epoch.

Every entry has `n`, and where it applies `chance`, what a model that knows the question but never
listens can reach. For a task with several question types it is the mean over the types, because
such a model may answer each type by its most frequent class.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

from pal_plugin.evaluation.evaluators import Evaluator, evaluator_class
from pal_plugin.evaluation.evaluators.base import Scores
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

#: Annotation columns with more values than this (ids, names) get no entries.
_MOST_VALUES = 24
#: Metrics where less is better, by the first part of their names.
_LESS_IS_BETTER = ("loss", "wer", "perplexity", "unparsed", "unmatched")


def passes(masked: bool) -> dict[str, str]:
    """Suffix of a metric's name, by the suffix of its columns in the rows."""
    return {"": ""} | ({"_masked": "_masked_audio"} if masked else {})


def score(
    rows: Sequence[dict], evaluators: Mapping[str, Evaluator], *, masked: bool
) -> dict[str, dict[str, Scores]]:
    """Score the rows of each task, which may add `figures` to them.

    Returns:
        `{entry: {suffix of columns: scores}}`.
    """
    return {
        name: {key: evaluators[group[0]["task"]].score(group, key) for key in passes(masked)}
        for name, group in by_task(rows).items()
    }


def summarise(
    rows: Sequence[dict],
    *,
    masked: bool,
    scores: Mapping[str, Mapping[str, Scores]] | None = None,
) -> dict[str, dict]:
    """Entries by task, and by `task/question_type` and `task/column=value` if there are several.

    Args:
        rows: from `InstructTask.valid_step`. Rows with a `dataset` get entries
            `dataset/task[/question_type]`.
        masked: whether the rows were answered with masked audio too.
        scores: from `score`, of these rows.
    """
    entries = {}
    for name, group in by_task(rows).items():
        types = _split(group, lambda row: row["question_type"])
        whole = entries[name] = _entry(group, masked, (scores or {}).get(name))
        parts = {kind: _entry(part, masked) for kind, part in sorted(types.items())}
        if "chance" in whole and all("chance" in part for part in parts.values()):
            total = sum(part["chance"] * part["n"] for part in parts.values())
            whole["chance"] = total / whole["n"]
        if len(parts) > 1:
            entries.update({f"{name}/{kind}": part for kind, part in parts.items()})
        for column, values in _columns_of(group).items():
            for value, part in sorted(values.items()):
                entries[f"{name}/{column}={value}"] = _entry(part, masked)
    return entries


def by_task(rows: Sequence[dict]) -> dict[str, list[dict]]:
    """Rows grouped by the entry of their task."""
    return _split(rows, _task_name)


def task_names(rows: Sequence[dict]) -> list[str]:
    """Names of the task-level entries of `summarise`."""
    return list(dict.fromkeys(map(_task_name, rows)))


def rows_of_entry(rows: Sequence[dict], entry: str) -> list[dict]:
    """The rows of an entry of `summarise`; none if there is no such entry."""
    for name, group in by_task(rows).items():
        if entry == name:
            return group
        if not entry.startswith(f"{name}/"):
            continue
        part = entry.removeprefix(f"{name}/")
        types = _split(group, lambda row: row["question_type"])
        if part in types:
            return types[part]
        column, _, value = part.partition("=")
        return _columns_of(group).get(column, {}).get(value, [])
    return []


def select(entries: dict[str, dict], select_by: str, tasks: Sequence[str]) -> float:
    """The metric that selects the best checkpoint; larger is better.

    Args:
        entries: from `summarise`.
        select_by: a metric ("accuracy", "loss", "wer"), averaged over the tasks that have it, or
            one entry's ("classification.accuracy"). Loss, perplexity and WER are negated.
        tasks: names of the entries to average over.

    Returns:
        NaN if no caption has a finite loss.

    Raises:
        ConfigError: no entry has this metric.
    """
    entry, _, figure = select_by.rpartition(".")
    names = [entry] if entry else tasks
    given = [entries[n][figure] for n in names if n in entries and figure in entries[n]]
    values = [value for value in given if value is not None]
    if given and not values and figure in ("loss", "perplexity"):
        logging.warning("run.select_by: no %s of this evaluation is finite", select_by)
        return math.nan
    if not values:
        known = {f for values in entries.values() for f in values if f != "n"}
        known |= {f"{name}.{f}" for name, values in entries.items() for f in values if f != "n"}
        raise ConfigError(
            f"run.select_by is {select_by!r}, but this evaluation has no such metric. "
            f"{did_you_mean(select_by, sorted(known))}"
        )
    mean = sum(values) / len(values)
    return -mean if figure.split("_")[0] in _LESS_IS_BETTER else mean


def check_selection(select_by: str, evaluators: Mapping[str, Evaluator]) -> None:
    """Refuse a metric that no evaluator can have, before any evaluation (see `select`).

    Raises:
        ConfigError: no task has a metric of this name.
    """
    if any(evaluator.names is None for evaluator in evaluators.values()):
        return  # one that does not say
    known = {name for evaluator in evaluators.values() for name in evaluator.names}
    figure = select_by.rpartition(".")[2]
    if figure != "chance" and figure.removesuffix(passes(True)["_masked"]) not in known:
        raise ConfigError(
            f"run.select_by is {select_by!r}, which no task has as a metric. "
            f"{did_you_mean(figure, sorted(known))}"
        )


def _task_name(row: dict) -> str:
    return f"{row['dataset']}/{row['task']}" if "dataset" in row else row["task"]


def _entry(rows: list[dict], masked: bool, scores: Mapping[str, Scores] | None = None) -> dict:
    evaluator = evaluator_class(rows[0]["task"])
    entry: dict[str, float | int | None] = {}
    for key, suffix in passes(masked).items():
        figures = evaluator.summarise(rows, key)
        if scores is not None:
            figures |= scores[key].figures
        entry |= {f"{name}{suffix}": value for name, value in figures.items()}
    chance = evaluator.chance(rows)
    if chance is not None:
        entry["chance"] = chance
    entry["n"] = len(rows)
    return entry


def _split(rows: Sequence[dict], name_of) -> dict[str, list[dict]]:
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(name_of(row), []).append(row)
    return groups


def _columns_of(rows: list[dict]) -> dict[str, dict[str, list[dict]]]:
    """Multiple-choice rows by value of each annotation column that all rows have."""
    if rows[0]["task"] != "multiple_choice":
        return {}
    columns = set.intersection(*(set(row.get("facts") or ()) for row in rows))
    found = {}
    for column in sorted(columns):
        values = [row["facts"][column] for row in rows]
        if not all(isinstance(value, str | int | bool) for value in values):
            continue
        if 1 < len(set(values)) <= min(_MOST_VALUES, len(rows) - 1):
            found[column] = _split(rows, lambda row, column=column: str(row["facts"][column]))
    return found
