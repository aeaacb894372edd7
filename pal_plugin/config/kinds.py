"""Kinds of values: `holds(value)` checks a value, `str` describes what is expected."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """Valid values of a key."""

    def holds(self, value: Any) -> bool:
        """Whether `value` is valid."""
        ...


@dataclass(frozen=True)
class Number:
    """A finite number in a range.

    Args:
        least, most: inclusive bounds.
        above, below: exclusive bounds.
        whole: integers only.
        null: whether null is valid.
        words: texts that are valid instead of a number.
    """

    least: float = 0
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    whole: bool = False
    null: bool = False
    words: tuple[str, ...] = ()

    def holds(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return self.null if value is None else value in self.words
        if isinstance(value, bool) or not isinstance(value, int | float) or not _finite(value):
            return False
        inside = self.least <= value <= self.most and self.above < value < self.below
        return inside and (not self.whole or value == int(value))

    def argument(self, text: str) -> float:
        """Parse a command line argument; the `type` of an argparse argument.

        Raises:
            ArgumentTypeError: the value is invalid.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = None
        if value is None or not self.holds(value):
            raise ArgumentTypeError(f"got {text!r}; expected {self}")
        return value

    def __str__(self) -> str:
        text = "a whole number" if self.whole else "a number"
        if self.above > -math.inf:
            text += f" above {self.above:g}"
        elif self.least > -math.inf:
            text += f", {self.least:g} or more"
        if self.below < math.inf:
            text += f", less than {self.below:g}"
        elif self.most < math.inf:
            text += f", at most {self.most:g}"
        return ", or ".join([text, *self.words, *(["null"] if self.null else [])])


@dataclass(frozen=True)
class OneOf:
    """One of a few values; `text` lists them in messages."""

    values: tuple
    text: str

    def holds(self, value: Any) -> bool:
        return any(value == known and type(value) is type(known) for known in self.values)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Text:
    """A text that is not empty.

    Args:
        null: whether null is valid.
        folder: the text must be valid as a folder's name.
    """

    null: bool = False
    folder: bool = False

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str):
            return self.null and value is None
        return bool(value.strip()) and not (self.folder and set(value) & set("/\\\0"))

    def __str__(self) -> str:
        text = "a folder name, without / and \\" if self.folder else "a text"
        return text + ", or null" * self.null


@dataclass(frozen=True)
class ListOf:
    """A list of values of one kind.

    Args:
        entry: kind of each value.
        size: number of values; None: `least` or more.
        least: minimum number of values.
        rising: values must not decrease, as in [low, high].
        null: whether null is valid.
    """

    entry: Kind
    size: int | None = None
    least: int = 1
    rising: bool = False
    null: bool = False

    def holds(self, value: Any) -> bool:
        if not isinstance(value, list | tuple):
            return self.null and value is None
        counted = len(value) == self.size if self.size else len(value) >= self.least
        good = counted and all(self.entry.holds(one) for one in value)
        return good and (not self.rising or list(value) == sorted(value))

    def __str__(self) -> str:
        pair = self.rising and self.size == 2
        text = "[low, high]" if pair else f"a list of {self.size or self.least or 'any number'}"
        text += "" if self.size or not self.least else " or more"
        return f"{text}, each {self.entry}" + ", or null" * self.null


@dataclass(frozen=True)
class Either:
    """A value of any of several kinds."""

    kinds: tuple[Kind, ...]

    def holds(self, value: Any) -> bool:
        return any(kind.holds(value) for kind in self.kinds)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


@dataclass(frozen=True)
class Section:
    """A map with further keys."""

    null: bool = False

    def holds(self, value: Any) -> bool:
        return self.null if value is None else isinstance(value, dict)

    def __str__(self) -> str:
        return "a section of keys" + ", or null" * self.null


FLAG = OneOf((True, False), "true or false")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond the range of float
        return False
