"""Annotation files as rows: CSV, TSV, JSON and JSON lines, with errors that name file and line.

Design choice: a row knows where it stands, so that a reader can list one that cannot be used
(`listed`) and go on. A file that is wrong as a whole, such as one without a column, stops.
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

#: Marks at the beginning of a file, and how what follows is encoded; else it is UTF-8.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before that of UTF-16, with which it begins
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
JSON_LINES = (".jsonl", ".ndjson")
csv.field_size_limit(2**27)  # captions and events can be longer than csv's 128 KiB


class MissingColumnError(ConfigError):
    """A column that is needed is not in the header."""


class Row(dict):
    """One entry of an annotation file; a key that it lacks is a `ConfigError`.

    Attributes:
        path: the file.
        place: "line 3" or "entry 3".
    """

    __slots__ = ("number", "path", "unit")  # OpenAQA has millions

    def __init__(self, values: Any, path: Path, unit: str, number: int) -> None:
        super().__init__(values)
        self.path, self.unit, self.number = path, unit, number

    @property
    def where(self) -> str:
        """File and place, for messages: `train.csv, line 3`."""
        return f"{self.path.name}, {self.unit} {self.number}"

    def only(self, *names: str) -> dict[str, Any]:
        """Those of these columns that there are."""
        return {name: self[name] for name in names if name in self}

    def __missing__(self, name: str) -> Any:
        raise ConfigError(f"no {name!r}. {did_you_mean(name, list(self))}")


@contextmanager
def listed(problems: list[str], row: Row, part: str = "") -> Iterator[None]:
    """An entry that cannot be used becomes a line of `problems`, with its place and the reason.

    Args:
        part: of the entry, such as "pair 2".
    """
    try:
        yield
    except ConfigError as error:
        problems.append(f"{row.where}{part and ', '}{part}: {error}")


def file_name(row: Row, column: str) -> str:
    """The name of a clip's file.

    Raises:
        ConfigError: it is empty or no text.
    """
    if not isinstance(row[column], str) or not row[column].strip():
        raise ConfigError(f"expected a file's name as {column}, got {row[column]!r:.80}")
    return row[column]


def seconds(row: Row, column: str) -> float:
    """A time; whole ones as int, since file names have them as `30`, however the table has them.

    Raises:
        ConfigError: it is no number.
    """
    try:
        value = float(row[column])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"expected seconds as {column}, got {row[column]!r}")
    return int(value) if value == int(value) else value


def ending(path: Path) -> str:
    """What a file's name ends in, `.csv` of `A.CSV` too."""
    return path.suffix.lower()


def read_text(path: Path, other: str | None = None) -> str:
    """The file as text: UTF-8, or UTF-16 or 32 with a mark at its beginning.

    Other bytes stay as halves of characters (Python's `surrogateescape`), so that only the rows
    with them are refused (`texts.checked_text`), and file names with them are found.

    Args:
        other: encoding of the lines that are not UTF-8, where a dataset is known to have it.

    Raises:
        ConfigError: no such file, or none of text.
    """
    if not path.is_file():
        raise ConfigError(f"no annotations at {path}; expected a file")
    data = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} begins as {encoding} and is not: {error}") from error
    if "\0" in text.partition("\n")[0]:
        raise ConfigError(
            f"{path} is no text in UTF-8: its first line has NUL characters, as binary files have "
            "and UTF-16 without the mark at its beginning; save it as UTF-8"
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
    """JSON as values.

    Raises:
        ConfigError: it is none, or an object has a key twice; `name` says whose.
    """
    try:
        return json.loads(text, object_pairs_hook=each_key_once)
    except (ValueError, RecursionError) as error:
        hint = "; JSON lines are named .jsonl" if "Extra data" in str(error) else ""
        raise ConfigError(f"{name} is not JSON: {error}{hint}") from error


def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would silently take the last of several values.

    Raises:
        ValueError: a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(
            f"the key {repeated!r} is there {names.count(repeated)} times in one object"
        )
    return found


def read_csv(
    path: Path, required: Sequence[str], delimiter: str = ",", other: str | None = None
) -> list[Row]:
    """Rows of a CSV with a header.

    Args:
        other: see `read_text`.

    Raises:
        MissingColumnError: a column of `required` is not there.
        ConfigError: a row has too many or too few fields, or a column is there twice.
    """
    lines = _cells(path, delimiter, other=other)
    if not lines:
        raise ConfigError(f"{path} is empty; expected a header with {', '.join(required)}")
    (_, header), *body = lines
    header = [name.strip() for name in header]
    for name in required:
        if name not in header:
            raise MissingColumnError(
                f"{path} has no column {name!r} in its first line. {did_you_mean(name, header)}"
            )
    repeated = [name for name in dict.fromkeys(header) if name and header.count(name) > 1]
    if repeated:
        raise ConfigError(
            f"{path}, line 1: the column {repeated[0]!r} is there {header.count(repeated[0])} "
            "times; expected each name once"
        )
    return _named(path, header, body)


def read_plain_csv(
    path: Path, columns: Sequence[str], delimiter: str = ",", comment: str | None = None
) -> list[Row]:
    """Rows of a CSV without a header, whose columns are known.

    Args:
        comment: lines that begin with it are left out.

    Raises:
        ConfigError: a row with another number of fields.
    """
    return _named(path, columns, _cells(path, delimiter, comment))


def first_line(path: Path) -> str:
    """The first line, by which files of one dataset are told apart."""
    return re.split(r"[\r\n]", read_text(path).lstrip(), maxsplit=1)[0].strip()


def read_rows(path: Path, required: Sequence[str]) -> list[Row]:
    """Entries of a JSON list, or of JSON lines where the name ends in `.jsonl` or `.ndjson`.

    Raises:
        ConfigError: not JSON, not a list of objects, or a key of `required` that no entry has.
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
    for place, number in enumerate(numbers):  # one by one, as OpenAQA does not fit twice
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
        stripped = (cell.strip() for cell in cells)  # a blank at its end would make a new label
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
    # A tab-separated file quotes nothing; elsewhere a space may stand before the quote (AudioSet).
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    # Strict: a quote that nothing closes would take the following rows into its cell.
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
