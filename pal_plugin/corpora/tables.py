"""Annotation files as rows: CSV, TSV, JSON and JSON lines, with errors that name file and line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.errors import ConfigError
from pal_plugin.merging import did_you_mean

csv.field_size_limit(2**27)  # captions and events can be longer than csv's 128 KiB


def read_text(path: Path) -> str:
    """The file as text: UTF-8, or Latin-1 as in Clotho's metadata.

    Raises:
        ConfigError: no such file.
    """
    if not path.is_file():
        raise ConfigError(f"no annotations at {path}; expected a file")
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_csv(path: Path, required: Sequence[str], delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a CSV with a header.

    Raises:
        ConfigError: a column of `required` is missing, a row has too many or too few fields.
    """
    lines = _cells(path, delimiter)
    if not lines:
        raise ConfigError(f"{path} is empty; expected a header with {', '.join(required)}")
    (_, header), *body = lines
    header = [name.strip() for name in header]
    for name in required:
        if name not in header:
            raise ConfigError(
                f"{path} has no column {name!r} in its first line. {did_you_mean(name, header)}"
            )
    rows = []
    for number, cells in body:
        if len(cells) != len(header):
            raise ConfigError(
                f"{path}, line {number}: expected {len(header)} fields "
                f"({', '.join(header)}), got {len(cells)}: {cells}"
            )
        rows.append(dict(zip(header, cells, strict=True)))
    return rows


def read_plain_csv(
    path: Path, columns: Sequence[str], delimiter: str = ",", comment: str | None = None
) -> list[dict[str, str]]:
    """Rows of a CSV without a header, whose columns are known.

    Args:
        comment: lines that begin with it are left out.

    Raises:
        ConfigError: a row with another number of fields.
    """
    rows = []
    for number, cells in _cells(path, delimiter, comment):
        if len(cells) != len(columns):
            raise ConfigError(
                f"{path}, line {number}: expected the {len(columns)} fields "
                f"{', '.join(columns)}, got {len(cells)}: {cells}"
            )
        rows.append(dict(zip(columns, (cell.strip() for cell in cells), strict=True)))
    return rows


def first_line(path: Path) -> str:
    """The first line, by which files of one dataset are told apart."""
    return read_text(path).partition("\n")[0].strip()


def read_rows(path: Path, required: Sequence[str]) -> list[dict[str, Any]]:
    """Entries of a JSON list, or of JSON lines where the name ends in `.jsonl`.

    Raises:
        ConfigError: not JSON, not a list of objects, or an entry without a key of `required`.
    """
    text = read_text(path)
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{path}: expected a list of objects, got {type(rows).__name__}")
    for number, row in enumerate(rows):
        for name in required:
            if name not in row:
                raise ConfigError(
                    f"{path}, entry {number}: no {name!r}. {did_you_mean(name, list(row))}"
                )
    return rows


def _cells(path: Path, delimiter: str, comment: str | None = None) -> list[tuple[int, list[str]]]:
    lines = iter(io.StringIO(read_text(path), newline=""))  # splitlines also cuts at U+2028
    if comment is not None:
        lines = ("\n" if line.startswith(comment) else line for line in lines)
    # A tab-separated file quotes nothing; elsewhere a space may stand before the quote (AudioSet).
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, quoting=quoting)
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from error
    return rows
