"""A user's own data: a CSV with a header, or JSON lines.

Design choice: the columns say what is asked, so there is nothing to configure: `label`, `labels`,
`caption`, `transcript`, or `question` with `answer` (and `choices`). All other columns are facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import caption, classification, multiple_choice, open_question, tags
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.prompts import CAPTION, CLASSIFY, TRANSCRIBE
from pal_plugin.corpora.records import Corpus, Item, Record, grouped, record_id
from pal_plugin.corpora.tables import read_csv, read_rows
from pal_plugin.errors import ConfigError
from pal_plugin.merging import did_you_mean

_AUDIO = ("audio", "filename", "file_name", "file", "path")
_ASKED = ("label", "labels", "caption", "captions", "transcript", "question", "answer", "choices")
_OTHER = ("id", "items")


def read_own(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Rows as above; rows of the same file make one clip.

    In a CSV, `labels` and `choices` are separated by `|`. In JSON lines they are lists, `captions`
    too, and `items` may be a list of items in the package's own form.

    Raises:
        ConfigError: no column names the audio, or none says what is asked.
    """
    rows = []
    for path in files:
        for number, row in enumerate(_rows(path)):
            row = {name: value for name, value in row.items() if value not in (None, "", [])}
            where = f"{path}, entry {number + 1}"
            audio = next((row[name] for name in _AUDIO if name in row), None)
            if not isinstance(audio, str):
                raise ConfigError(
                    f"{where}: expected the audio file's name under one of {', '.join(_AUDIO)}, "
                    f"got the columns {', '.join(row)}"
                )
            try:
                items = _items(row)
            except ConfigError as error:
                raise ConfigError(f"{where}: {error}") from error
            taken = {*_AUDIO, *_ASKED, *_OTHER}
            facts = {name: value for name, value in row.items() if name not in taken}
            rows.append(Record(str(row.get("id", record_id(audio))), audio, items, facts))
    records = grouped(rows)
    labels = {
        label
        for record in records
        for item in record.items
        if item["task"] == "classification"
        for label in item.get("labels", [item["answer"]])
    }
    return Corpus(records, sorted(labels) or None)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix in (".json", ".jsonl"):
        return read_rows(path, ())
    rows = read_csv(path, (), delimiter="\t" if path.suffix == ".tsv" else ",")
    for row in rows:
        for name in ("labels", "choices", "captions"):
            if row.get(name):
                row[name] = [part.strip() for part in row[name].split("|")]
    return rows


def _items(row: dict[str, Any]) -> list[Item]:
    items = [_checked(item) for item in row.get("items", [])]
    question = row.get("question")
    if "label" in row:
        items.append(classification(question or CLASSIFY, str(row["label"])))
    if "labels" in row:
        items.append(tags(question or CLASSIFY, [str(label) for label in row["labels"]]))
    texts = row.get("captions", [row["caption"]] if "caption" in row else [])
    if texts:
        items.append(caption(question or CAPTION, texts))
    if "transcript" in row:
        items.append(
            open_question("transcript", "transcript", question or TRANSCRIBE, row["transcript"])
        )
    if "answer" in row:
        if not question:
            raise ConfigError("there is an answer, and no question")
        answer = str(row["answer"])
        if "choices" in row:
            items.append(multiple_choice("mmau", question, row["choices"], answer, "choice"))
        else:
            items.append(open_question("qa", "qa", question, answer))
    if not items:
        near = [did_you_mean(name, _ASKED) for name in row if name not in (*_AUDIO, *_OTHER)]
        raise ConfigError(
            f"nothing is asked; expected label, labels, caption, captions, transcript, or "
            f"question with answer, got {', '.join(row)}. {near[0] if near else ''}".strip()
        )
    return items


def _checked(item: Any) -> Item:
    needed = ("task", "question", "answer")
    if not isinstance(item, dict) or any(not isinstance(item.get(k), str) for k in needed):
        raise ConfigError(f"an item must have the texts {', '.join(needed)}, got {item!r}")
    return {"question_type": item["task"], **item}
