"""Reads annotation files as rows: CSV, TSV, JSON and JSON lines; errors name file and line.

Design choice: a row knows its position, so that a reader can report an unusable one (`listed`) and
continue. A file that is malformed as a whole, e.g. lacks a column, is an error.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

#: Byte order marks and their encodings; files without one are UTF-8.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which is its prefix
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
JSON_LINES = (".jsonl", ".ndjson")
csv.field_size_limit(2**27)  # captions and events can be longer than csv's 128 KiB


class MissingColumnError(ConfigError):
    """The header lacks a required column."""


class Row(dict):
    """One entry of an annotation file; looking up a missing key raises `ConfigError`.

    Attributes:
        path: the file.
        unit, number: position in the file, such as "line" and 3.
    """

    __slots__ = ("number", "path", "unit")  # OpenAQA has millions

    def __init__(self, values: Any, path: Path, unit: str, number: int) -> None:
        super().__init__(values)
        self.path, self.unit, self.number = path, unit, number

    @property
    def where(self) -> str:
        """File and position for messages, such as `train.csv, line 3`."""
        return f"{self.path.name}, {self.unit} {self.number}"

    def only(self, *names: str) -> dict[str, Any]:
        """The given columns, without those that the row lacks."""
        return {name: self[name] for name in names if name in self}

    def __missing__(self, name: str) -> Any:
        raise ConfigError(f"no {name!r}. {did_you_mean(name, list(self))}")


@contextmanager
def listed(problems: list[str], row: Row, part: str = "") -> Iterator[None]:
    """Context manager that turns a `ConfigError` into a line of `problems`, with file and position.

    Args:
        part: the part of the entry, such as "pair 2".
    """
    try:
        yield
    except ConfigError as error:
        problems.append(f"{row.where}{part and ', '}{part}: {error}")


def file_name(row: Row, column: str) -> str:
    """The audio file name in a column.

    Raises:
        ConfigError: if it is empty or not text.
    """
    if not isinstance(row[column], str) or not row[column].strip():
        raise ConfigError(f"expected a file name as {column}, got {row[column]!r:.80}")
    return row[column]


def seconds(row: Row, column: str) -> float:
    """A time in seconds; integral values as int, since file names have `30`, not `30.0`.

    Raises:
        ConfigError: if it is not a finite number.
    """
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"expected seconds as {column}, got {row[column]!r}")
    return int(value) if value == int(value) else value


def ending(path: Path) -> str:
    """The file extension in lower case, with its dot."""
    return path.suffix.lower()


def read_text(path: Path, other: str | None = None) -> str:
    """Reads a text file: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Undecodable bytes become surrogates (Python's `surrogateescape`), so that only their rows are
    rejected (`texts.checked_text`), and file names with them are found.

    Args:
        other: fallback encoding of lines that are not UTF-8, for datasets known to have them.

    Raises:
        ConfigError: if the file does not exist, or is not text.
    """
    if not path.is_file():
        raise ConfigError(f"no annotation file at {path}")
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} has a {encoding} byte order mark but is not: {error}") from error
    if "\0" in text.partition("\n")[0]:
        raise ConfigError(
            f"{path} is not UTF-8 text: its first line has NUL characters, as binary files have, "
            "and UTF-16 without a byte order mark; save it as UTF-8"
        )
    if other is not None and any("\udc80" <= character <= "\udcff" for character in text):
        return "".join(_line(line, other) for line in data.splitlines(keepends=True))
    return text


def _line(line: bytes, other: str) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode(other, "surrogateescape")


def parsed(name: str | Path, text: str | bytes) -> Any:
    """Parses JSON.

    Args:
        name: used in error messages.

    Raises:
        ConfigError: if it is not JSON, or an object repeats a key.
    """
    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except (ValueError, RecursionError) as error:
        hint = "; name a file of JSON lines .jsonl" if "Extra data" in str(error) else ""
        raise ConfigError(f"{name} is not valid JSON: {error}{hint}") from error


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds a JSON object; Python would silently keep the last of repeated keys.

    Raises:
        ValueError: if a key is repeated.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {repeated!r} occurs {names.count(repeated)} times in one object")
    return found


def read_csv(
    path: Path, required: Sequence[str], delimiter: str = ",", other: str | None = None
) -> list[Row]:
    """Reads a CSV with a header.

    Args:
        other: see `read_text`.

    Raises:
        MissingColumnError: if a column of `required` is missing.
        ConfigError: if a row has too many or too few fields, or a column is repeated.
    """
    lines = _cells(path, delimiter, other=other)
    if not lines:
        raise ConfigError(f"{path} is empty; expected a header with {', '.join(required)}")
    (_, header), *body = lines
    header = [name.strip() for name in header]
    other_delimiter = next(
        (mark for mark in "\t;," if mark != delimiter and mark in header[0]), None
    )
    if len(header) == 1 and other_delimiter is not None:
        raise ConfigError(
            f"{path}, line 1: expected columns separated by {delimiter!r}, got {header[0]!r:.80}; "
            "save it as CSV with commas, or with tabs and name it .tsv"
        )
    for name in required:
        if name not in header:
            raise MissingColumnError(
                f"{path} has no column {name!r} in its header. {did_you_mean(name, header)}"
            )
    repeated = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if repeated:
        raise ConfigError(
            f"{path}, line 1: column {repeated[0]!r} occurs {header.count(repeated[0])} times; "
            "expected unique names"
        )
    return _named(path, header, body)


def read_plain_csv(
    path: Path, columns: Sequence[str], delimiter: str = ",", comment: str | None = None
) -> list[Row]:
    """Reads a CSV without a header.

    Args:
        columns: the column names.
        comment: lines that start with it are skipped.

    Raises:
        ConfigError: if a row has a different number of fields.
    """
    return _named(path, columns, _cells(path, delimiter, comment))


def first_line(path: Path) -> str:
    """The first line, which distinguishes the files of a dataset."""
    return re.split(r"[\r\n]", read_text(path).lstrip(), maxsplit=1)[0].strip()


def read_rows(path: Path, required: Sequence[str]) -> list[Row]:
    """Reads a JSON list, or JSON lines if the name ends in `.jsonl` or `.ndjson`.

    Raises:
        ConfigError: if it is not a JSON list of objects, or no entry has a key of `required`.
    """
    numbers, rows, unit = _entries(path)
    if not isinstance(rows, list):
        raise ConfigError(f"{path}: expected a list of objects, got {type(rows).__name__}")
    for number, row in zip(numbers, rows, strict=True):
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, {unit} {number}: expected an object, got {row!r:.80}")
    for name in required:
        if rows and not any(name in row for row in rows):
            raise ConfigError(f"{path}: no entry has {name!r}. {did_you_mean(name, list(rows[0]))}")
    for place, number in enumerate(numbers):  # in place: OpenAQA does not fit in memory twice
        rows[place] = Row(rows[place], path, unit, number)
    return rows


def _named(path: Path, columns: Sequence[str], lines: Iterable[tuple[int, list[str]]]) -> list[Row]:
    rows = []
    for number, cells in lines:
        if len(cells) != len(columns):
            raise ConfigError(
                f"{path}, line {number}: expected {len(columns)} fields "
                f"({', '.join(columns)}), got {len(cells)}: {cells}"
            )
        stripped = (cell.strip() for cell in cells)  # a trailing blank would make a new label
        rows.append(Row(zip(columns, stripped, strict=True), path, "line", number))
    return rows


def _entries(path: Path) -> tuple[Sequence[int], Any, str]:
    """`(numbers, values, "entry" or "line")` of a JSON file."""
    if ending(path) not in JSON_LINES:
        rows = parsed(path, read_text(path))
        return range(1, len(rows) + 1) if isinstance(rows, list) else (), rows, "entry"
    numbers, rows = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            rows.append(parsed(f"{path}, line {number},", line))
            numbers.append(number)
    return numbers, rows, "line"


def _cells(
    path: Path, delimiter: str, comment: str | None = None, other: str | None = None
) -> list[tuple[int, list[str]]]:
    lines = iter(io.StringIO(read_text(path, other), newline=""))  # splitlines also cuts at U+2028
    if comment is not None:
        lines = ("\n" if line.startswith(comment) else line for line in lines)
    # TSV has no quoting; elsewhere a space may precede the quote (AudioSet).
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    # Strict: an unclosed quote would swallow the following rows.
    reader = csv.reader(
        lines, delimiter=delimiter, skipinitialspace=True, quoting=quoting, strict=True
    )
    rows = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}") from error
    return rows
