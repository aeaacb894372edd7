"""The prediction cache: answered rows, from which an interrupted evaluation resumes.

`result/SPLIT.partial.jsonl` is appended to batch by batch. Its first line holds the settings that
answers depend on; with other settings the file is refused, so that two evaluations never mix.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pal_plugin.batch import rows_in, take_rows
from pal_plugin.config.merging import flat
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import jsonable

SUFFIX = ".partial.jsonl"
#: Seconds between two fsyncs: at most this much is lost in a power cut.
_SYNC_S = 2.0

RowKey = tuple[str | None, str, str, str]


def row_key(row: dict) -> RowKey:
    """The key that identifies a row within a split."""
    return row.get("dataset"), row["task"], row["question_type"], row["id"]


def merge_rows(parts: Iterable[Sequence[dict]]) -> list[dict]:
    """The rows of several processes or datasets, without duplicates, in order.

    Rows without an `id` are all kept.

    Raises:
        ConfigError: two rows with the same id differ; names the id and the differing columns.
    """
    merged: dict[Any, dict] = {}
    repeated = 0
    for number, row in enumerate(row for part in parts for row in part):
        key = row_key(row) if "id" in row else number
        known = merged.setdefault(key, row)
        if known is row:
            continue
        differing = [k for k in {**known, **row} if known.get(k) != row.get(k)]
        if differing:
            raise ConfigError(
                f"two rows with the id {row['id']!r} differ in {', '.join(differing)}: "
                f"{_short(known, differing)} and {_short(row, differing)}. Ids must be unique "
                "within a split; give each clip its own id"
            )
        repeated += 1
    if repeated:
        logging.info("dropped %d duplicate rows", repeated)
    return list(merged.values())


def settings_hash(settings: Any) -> str:
    """SHA-256 of plain settings, independent of the order of keys."""
    text = json.dumps(jsonable(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class PredictionCache:
    """The answered rows of one split.

    Args:
        path: the cache file; created, or read if it exists.
        settings: what answers depend on, as plain values.
        others: cache files of other processes, whose rows are used too.

    Raises:
        ConfigError: a file was written with other settings, or is corrupt.
    """

    def __init__(self, path: Path, settings: dict[str, Any], others: Sequence[Path] = ()) -> None:
        self.path, self._dataset = path, None
        self._rows: dict[RowKey, dict] = {}
        #: By (dataset, question type, id): a task may answer a row under another name (a
        #: classification of several labels).
        self._answered_as: dict[tuple, RowKey] = {}
        self._met: set[RowKey] = set()
        self._synced = time.monotonic()
        for known in dict.fromkeys([path, *others]):
            if known.is_file():
                self._read(known, settings, cut=known == path)
        self._file = path.open("a", encoding="utf-8")
        if not path.stat().st_size:
            self._write([{"settings_sha256": settings_hash(settings), "settings": settings}])

    def __len__(self) -> int:
        return len(self._rows)

    def begin(self, dataset: str | None) -> list[dict]:
        """Start a dataset; returns its cached rows.

        Args:
            dataset: its name if the split has several, else None.
        """
        self._dataset = dataset
        self._met.clear()
        return [row for key, row in self._rows.items() if key[0] == dataset]

    def answer(self, task: Any, model: Any, samples: dict) -> list[dict]:
        """Answer a batch: cached rows, and `task.valid_step` for the others, in order.

        Raises:
            ConfigError: a duplicate id, or a cached row of a different question.
        """
        if "question_id" not in samples:
            return self._named(task.valid_step(model=model, samples=samples))
        keys = self._keys(samples)
        self._check(keys, samples)
        unknown = [number for number, key in enumerate(keys) if key not in self._rows]
        if unknown:
            part = samples
            if len(unknown) < rows_in(samples):
                part = take_rows(samples, unknown)
            fresh = self._named(task.valid_step(model=model, samples=part))
            self._write(fresh)
            self._know(fresh)
        return [self._rows[key] for key in self._keys(samples)]

    def close(self) -> None:
        """Flush and fsync the file; it is kept."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _keys(self, samples: dict) -> list[RowKey]:
        columns = zip(
            samples["task"], samples["question_type"], samples["question_id"], strict=True
        )
        asked: list[RowKey] = [(self._dataset, *names) for names in columns]
        return [
            key if key in self._rows else self._answered_as.get((key[0], *key[2:]), key)
            for key in asked
        ]

    def _know(self, rows: Sequence[dict]) -> None:
        for row in rows:
            dataset, _, kind, name = key = row_key(row)
            self._rows[key] = row
            self._answered_as[dataset, kind, name] = key

    def _check(self, keys: Sequence[RowKey], samples: dict) -> None:
        for number, key in enumerate(keys):
            if key in self._met:
                raise ConfigError(
                    f"two questions of a split have the id {key[3]!r} ({key[1]}); ids must be "
                    "unique. Is a file or a folder of shards listed twice?"
                )
            self._met.add(key)
            known = self._rows.get(key, {})
            columns = {"question": "text_input", "reference": "text_output"}
            asked = {n: samples[c][number] for n, c in columns.items() if c in samples}
            for name, text in asked.items():
                if known.get(name, text) != text:
                    raise ConfigError(
                        f"{self.path}: {key[3]!r} was answered with the {name} {known[name]!r}, "
                        f"but now has {text!r}: the data changed. Choose another --job-id"
                    )

    def _named(self, rows: list[dict]) -> list[dict]:
        return [row if self._dataset is None else {**row, "dataset": self._dataset} for row in rows]

    def _write(self, rows: Iterable[dict]) -> None:
        for row in rows:
            self._file.write(json.dumps(jsonable(row), ensure_ascii=False) + "\n")
        self._file.flush()
        if time.monotonic() - self._synced > _SYNC_S:
            os.fsync(self._file.fileno())
            self._synced = time.monotonic()

    def _read(self, path: Path, settings: dict[str, Any], *, cut: bool) -> None:
        whole, _, rest = path.read_bytes().rpartition(b"\n")
        if rest:
            logging.warning("%s: dropping the truncated last line; its row is answered again", path)
            if cut:
                os.truncate(path, len(whole) + 1 if whole else 0)
        lines = whole.decode("utf-8").split("\n") if whole else []
        try:
            parsed = [json.loads(line) for line in lines]
        except json.JSONDecodeError as error:
            raise ConfigError(
                f"{path} has a line that is not valid JSON ({error}); delete the file to restart "
                "this evaluation"
            ) from error
        if not parsed:
            return
        header, *rows = parsed
        if header.get("settings_sha256") != settings_hash(settings):
            before, now = (flat(s) for s in (header.get("settings") or {}, jsonable(settings)))
            changed = sorted(n for n in {**before, **now} if before.get(n) != now.get(n))
            raise ConfigError(
                f"{path} was written with different settings ({', '.join(changed)}); choose "
                "another --job-id, or use the same settings"
            )
        self._know(rows)
        logging.info("%s: resuming after %d answered rows", path.name, len(rows))


def _short(row: dict, keys: Sequence[str]) -> str:
    text = json.dumps({key: jsonable(row.get(key)) for key in keys}, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + "..."
