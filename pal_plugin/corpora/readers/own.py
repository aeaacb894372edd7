"""Custom data: a CSV with a header, or JSON lines.

Design choice: the columns define the task, so there is nothing to configure: `label`, `labels`,
`caption`, `transcript`, or `question` with `answer` (and `choices`). All other columns are facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import (
    caption,
    checked_items,
    classification,
    multiple_choice,
    open_question,
    tags,
)
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.prompts import CAPTION, CLASSIFY, TRANSCRIBE
from pal_plugin.corpora.records import Corpus, Item, Record, agreed, grouped, labels_of, record_id
from pal_plugin.corpora.tables import JSON_LINES, Row, ending, listed, read_csv, read_rows
from pal_plugin.corpora.texts import same_in_print
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

_AUDIO = ("audio", "filename", "file_name", "file", "path")
_ASKED = ("label", "labels", "caption", "captions", "transcript", "question", "answer", "choices")
_OTHER = ("id", "items")


def read_own(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Reads rows as above; rows of the same file form one clip, each item with its row's facts.

    In a CSV, `labels`, `captions` and `choices` are separated by `|`. In JSON lines they are lists,
    and `items` may be a list of items in the package's format. Unusable rows are reported as
    problems.
    """
    rows, problems = [], []
    for path in files:
        for row in _rows(path):
            with listed(problems, row):
                rows.append(_record(row))
    records = grouped(rows)
    labels = labels_of(records)
    return Corpus(records, labels or None, [*problems, *same_in_print(labels)])


def joined_captions(records: Sequence[Record]) -> list[Record]:
    """Merges the caption items of a clip that share a question into one with all references.

    Keeps the facts on which all merged items agree. Runs after `where`, which may select rows.
    """
    joined = []
    for record in records:
        items: list[Item] = []
        first: dict[str, Item] = {}  # by the question
        for item in record.items:
            known = first.get(item["question"]) if item["task"] == "caption" else None
            if known is None:
                item = dict(item)
                items.append(item)
                if item["task"] == "caption":
                    first[item["question"]] = item
                continue
            known["answers"] = [*known["answers"], *item["answers"]]
            shared = agreed([known.pop("facts", {}), item.get("facts", {})])
            known.update({"facts": shared} if shared else {})
        joined.append(replace(record, items=items))
    return joined


def _record(row: Row) -> Record:
    given = {name: value for name, value in row.items() if value not in (None, "", [])}
    column = next((name for name in _AUDIO if name in given), None)
    audio = given.get(column)
    if not isinstance(audio, str):
        raise ConfigError(
            f"expected the audio file name in one of the columns {', '.join(_AUDIO)}, "
            f"got {', '.join(given)}"
        )
    taken = {column, *_ASKED, *_OTHER}
    facts = {name: value for name, value in given.items() if name not in taken}
    items = _items(given)
    if "id" in given:
        items = [{"id": str(given["id"]), **item} for item in items]
    if facts:
        items = [{**item, "facts": {**facts, **item.get("facts", {})}} for item in items]
    return Record(str(given.get("id", record_id(audio))), audio, items, facts)


def _rows(path: Path) -> list[Row]:
    if ending(path) in (".json", *JSON_LINES):
        return read_rows(path, ())
    rows = read_csv(path, (), delimiter="\t" if ending(path) == ".tsv" else ",")
    for row in rows:
        for name in ("labels", "choices", "captions"):
            if row.get(name):
                parts = [part.strip() for part in row[name].removesuffix("|").split("|")]
                # A blank choice is kept and reported: dropping it would shift the letters.
                row[name] = parts if name == "choices" else [part for part in parts if part]
    return rows


def _text(name: str, value: Any) -> str:
    """Text, or an int or bool as text; rejects NaN, which pandas writes for missing values."""
    if isinstance(value, str | int):
        return str(value)
    raise ConfigError(f"expected text as {name}, got {value!r}")


def _items(row: dict[str, Any]) -> list[Item]:
    items = checked_items(_list(row, "items"))
    question = row.get("question")
    if "label" in row:
        items.append(classification(question or CLASSIFY, _text("label", row["label"])))
    if "labels" in row:
        items.append(
            tags(question or CLASSIFY, [_text("labels", label) for label in _list(row, "labels")])
        )
    texts = [*_list(row, "captions"), *([row["caption"]] if "caption" in row else [])]
    if texts:
        items.append(caption(question or CAPTION, texts))
    if "transcript" in row:
        items.append(
            open_question("transcript", "transcript", question or TRANSCRIBE, row["transcript"])
        )
    if "answer" in row:
        if not question:
            raise ConfigError("row has an answer but no question")
        answer = _text("answer", row["answer"])
        if "choices" in row:
            items.append(multiple_choice("mmau", question, row["choices"], answer, "choice"))
        else:
            items.append(open_question("qa", "qa", question, answer))
    if not items:
        near = [did_you_mean(name, _ASKED) for name in row if name not in (*_AUDIO, *_OTHER)]
        raise ConfigError(
            f"no task: expected label, labels, caption, captions, transcript, or question with "
            f"answer, got {', '.join(row)}. {near[0] if near else ''}".strip()
        )
    return items


def _list(row: dict[str, Any], name: str) -> list[Any]:
    value = row.get(name, [])
    if not isinstance(value, list):
        raise ConfigError(f"expected a list as {name}, got {value!r:.80}")
    return value
