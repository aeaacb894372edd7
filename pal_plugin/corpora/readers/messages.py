"""Conversations with any number of clips: JSON lines of `{"messages": [...]}`.

A clip is a file name, relative to the audio folder: `{"type": "audio", "audio": "a.wav"}`. With a
list `audios` in the row, the messages only have placeholders, `{"type": "audio"}`, in its order.
The last message is the answer. All other columns but `task` (default: `qa`, or `classification` if
there are `candidates`), `question_type`, `answers`, `candidates` and `id` are facts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import checked_items
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.records import Corpus, Record, labels_of
from pal_plugin.corpora.tables import Row, listed, read_rows
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.messages import clips_of, with_clips

_ITEM = ("task", "question_type", "answers", "candidates")


def read_messages(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Reads rows as above; unusable ones are reported as problems."""
    records, problems = [], []
    for path in files:
        for number, row in enumerate(read_rows(path, ("messages",)), 1):
            with listed(problems, row):
                records.append(_record(row, f"{path.stem}-{number:06d}"))
    open_ones = [record for record in records if "candidates" not in record.items[0]]
    return Corpus(records, labels_of(open_ones) or None, problems)


def _record(row: Row, name: str) -> Record:
    messages, files = _named(row.get("messages"), row.get("audios"))
    numbers = {file: number for number, file in enumerate(dict.fromkeys(files))}
    item = {key: row[key] for key in _ITEM if row.get(key) not in (None, "", [])}
    item.setdefault("task", "classification" if "candidates" in item else "qa")
    item["messages"] = with_clips(messages, [numbers[file] for file in files])
    taken = ("messages", "audios", "id", *_ITEM)
    facts = {key: value for key, value in row.items() if key not in taken}
    items = checked_items([{**item, **({"facts": facts} if facts else {})}], len(numbers))
    return Record(str(row.get("id") or name), tuple(numbers), items, facts)


def _named(messages: Any, audios: Any) -> tuple[list, list[str]]:
    """The messages with a file name for each clip, and these in order."""
    if audios is None:
        try:
            files = clips_of(messages)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    else:
        messages, files = _filled(messages, audios), audios
    if not all(isinstance(file, str) and file for file in files):
        raise ConfigError(f"expected file names as clips, got {files!r:.120}")
    return messages, list(files)


def _filled(messages: Any, audios: Any) -> list:
    """The messages with `audios` in their placeholders."""
    if not isinstance(audios, list) or not isinstance(messages, list):
        raise ConfigError(f"expected lists as messages and audios, got {audios!r:.80}")
    placeholders = 0
    filled = []
    for message in messages:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            parts = []
            for part in content:
                if isinstance(part, dict) and part.get("type") == "audio":
                    if set(part) != {"type"}:
                        raise ConfigError(
                            f"with audios, expected the placeholder {{'type': 'audio'}}, got {part}"
                        )
                    part = {"type": "audio", "audio": (audios[placeholders:] or [""])[0]}
                    placeholders += 1
                parts.append(part)
            message = {**message, "content": parts}
        filled.append(message)
    if placeholders != len(audios):
        raise ConfigError(f"the messages have {placeholders} placeholders for {len(audios)} audios")
    try:
        clips_of(filled)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return filled
