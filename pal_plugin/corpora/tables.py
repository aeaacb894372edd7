"""Annotation files as rows: CSV, TSV, JSON and JSON lines, with errors that name file and line.

Design choice: a row knows where it stands, so that a reader can list one that cannot be used
(`listed`) and go on. A file that is wrong as a whole, such as one without a column, stops.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

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


def parsed(name: str | Path, text: str) -> Any:
    """JSON as values.

    Raises:
        ConfigError: it is none; `name` says whose.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name} is not JSON: {error}") from error


def read_csv(path: Path, required: Sequence[str], delimiter: str = ",") -> list[Row]:
    """Rows of a CSV with a header.

    Raises:
        MissingColumnError: a column of `required` is not there.
        ConfigError: a row has too many or too few fields.
    """
    lines = _cells(path, delimiter)
    if not lines:
        raise ConfigError(f"{path} is empty; expected a header with {', '.join(required)}")
    (_, header), *body = lines
    header = [name.strip() for name in header]
    for name in required:
        if name not in header:
            raise MissingColumnError(
                f"{path} has no column {name!r} in its first line. {did_you_mean(name, header)}"
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
    return read_text(path).partition("\n")[0].strip()


def read_rows(path: Path, required: Sequence[str]) -> list[Row]:
    """Entries of a JSON list, or of JSON lines where the name ends in `.jsonl`.

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
    if path.suffix != ".jsonl":
        rows = parsed(path, read_text(path))
        return range(1, len(rows) + 1) if isinstance(rows, list) else (), rows, "entry"
    numbers, rows = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            rows.append(parsed(f"{path}, line {number},", line))
            numbers.append(number)
    return numbers, rows, "line"


def _cells(path: Path, delimiter: str, comment: str | None = None) -> list[tuple[int, list[str]]]:
    lines = iter(io.StringIO(read_text(path), newline=""))  # splitlines also cuts at U+2028
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
