"""The data model of corpora: one record per clip, with all its items.

Design choice: an item is the same dictionary that shards and batches hold, so nothing is
translated between the annotation file and the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pal_plugin.corpora.locate import without_extension
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.printable import printable
from pal_plugin.utils.spelling import did_you_mean

Item = dict[str, Any]


@dataclass(frozen=True)
class Record:
    """One clip, or the clips of a conversation.

    Attributes:
        id: unique within its corpus.
        audio: file name as annotated, relative to the audio folder; a tuple: those of the clips of
            a conversation.
        items: the tasks: `task`, `question_type`, `question`, `answer`, and where they apply
            `answers` (all correct answers, `answer` first), `candidates` (closed set), `labels`
            (multi-label), `stem`, `protocol` (multiple choice, see `prompts`), `id` and `facts`
            (other columns of the row). A conversation has `messages`, whose clips are numbers.
        facts: other annotations of the clip: split, fold, licence, ...
        others: alternative published file names, in the order they are tried.
    """

    id: str
    audio: str | tuple[str, ...]
    items: list[Item]
    facts: dict[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """All records of a set of annotation files.

    Attributes:
        labels: the label set of its classification items; None if there are none.
        problems: unusable entries, each with the reason.
    """

    records: list[Record]
    labels: list[str] | None = None
    problems: list[str] = field(default_factory=list)


def grouped(rows: Iterable[Record]) -> list[Record]:
    """Merges rows of the same file into one record with all their items, in order.

    Facts on which all rows agree become the record's. Facts that differ or are missing in some
    rows move to the items of their row (an item's own fact takes precedence). The licence always
    belongs to the record; several are joined.
    """
    by_audio: dict[str, list[Record]] = {}
    for row in rows:
        by_audio.setdefault(row.audio, []).append(row)
    return [several[0] if len(several) == 1 else _one(several) for several in by_audio.values()]


def _one(rows: Sequence[Record]) -> Record:
    shared = agreed([row.facts for row in rows])
    licences = dict.fromkeys(str(r.facts["licence"]) for r in rows if r.facts.get("licence"))
    if licences:
        shared["licence"] = "; ".join(licences)
    items = []
    for row in rows:
        own = {name: value for name, value in row.facts.items() if name not in shared}
        for item in row.items:
            items.append({**item, "facts": {**own, **item.get("facts", {})}} if own else item)
    return replace(rows[0], items=items, facts=shared)


def agreed(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Facts that all dictionaries share, with equal values."""
    first, *others = several
    return {
        name: value
        for name, value in first.items()
        if all(name in facts and facts[name] == value for facts in others)
    }


def labels_of(records: Iterable[Record]) -> list[str]:
    """All labels of the classification items, sorted."""
    items = [item for record in records for item in record.items]
    asked = [item for item in items if item["task"] == "classification"]
    return sorted({label for item in asked for label in item.get("labels", [item["answer"]])})


def record_id(audio: str) -> str:
    """An id for datasets without ids: the file name without its extension."""
    return without_extension(audio.removeprefix("./"))


def with_unique_ids(records: Sequence[Record]) -> list[Record]:
    """The records with unique, printable ids; clashing ids are replaced by the file's full name.

    Raises:
        ConfigError: if these clash as well.
    """
    counts = Counter(record.id for record in records)
    unique, seen = [], set()
    for record in records:
        file = record.audio if isinstance(record.audio, str) else " + ".join(record.audio)
        name = printable(file if counts[record.id] > 1 else record.id)
        if name in seen:
            raise ConfigError(f"two clips have the id {name!r}; expected one entry per file")
        seen.add(name)
        unique.append(record if name == record.id else replace(record, id=name))
    return unique


def selected(corpus: Corpus, where: Mapping[str, Sequence[str]]) -> Corpus:
    """The records and items whose facts match `{column: accepted values}` (compared as text).

    Raises:
        ConfigError: if no record has such a column, or none matches.
    """
    if not where:
        return corpus
    values: dict[str, set[str]] = {}  # by column
    for record in corpus.records:
        for facts in (record.facts, *(item.get("facts", {}) for item in record.items)):
            for column, value in facts.items():
                found = values.setdefault(column, set())
                if column in where:
                    found.add(str(value))
    for column in where:
        if column not in values:
            raise ConfigError(
                f"no column {column!r} to filter by. {did_you_mean(column, sorted(values))}"
            )
    wanted = {column: {str(v).lower() for v in accepted} for column, accepted in where.items()}
    kept = []
    for record in corpus.records:
        items = []
        for item in record.items:
            facts = {**record.facts, **item.get("facts", {})}
            if all(str(facts.get(column)).lower() in wanted[column] for column in wanted):
                items.append(item)
        if items:
            kept.append(replace(record, items=items))
    if not kept:
        there = "; ".join(f"{c}: {', '.join(sorted(values[c])[:10])}" for c in where)
        raise ConfigError(
            f"none of {len(corpus.records)} clips matches where {dict(where)}; "
            f"values found: {there}"
        )
    return replace(corpus, records=kept)
