"""Kinds of values: `holds(value)` says whether one is of the kind, `str` what is expected."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """What a key may be."""

    def holds(self, value: Any) -> bool: ...


@dataclass(frozen=True)
class Number:
    """A finite number of a range.

    Args:
        least, most: the range, both ends included.
        above, below: further ends, which are not.
        whole: no fractions.
        null: null is allowed.
        words: texts that are allowed in its place.
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
        """The number that a command line gives: the `type` of an argument of argparse.

        Raises:
            ArgumentTypeError: it is not of this kind.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = None
        if value is None or not self.holds(value):
            raise ArgumentTypeError(f"got {text!r}; expected {self}")
        return value

    def __str__(self) -> str:
        told = "a whole number" if self.whole else "a number"
        if self.above > -math.inf:
            told += f" above {self.above:g}"
        elif self.least > -math.inf:
            told += f", {self.least:g} or more"
        if self.below < math.inf:
            told += f", less than {self.below:g}"
        elif self.most < math.inf:
            told += f", at most {self.most:g}"
        return ", or ".join([told, *self.words, *(["null"] if self.null else [])])


@dataclass(frozen=True)
class OneOf:
    """One of a few values; `told` is how a message lists them."""

    values: tuple
    told: str

    def holds(self, value: Any) -> bool:
        return any(value == known and type(value) is type(known) for known in self.values)

    def __str__(self) -> str:
        return self.told


@dataclass(frozen=True)
class Text:
    """A text with something in it.

    Args:
        null: null is allowed.
        folder: it names one folder, or the beginning of its name.
    """

    null: bool = False
    folder: bool = False

    def holds(self, value: Any) -> bool:
        if not isinstance(value, str):
            return self.null and value is None
        return bool(value.strip()) and not (self.folder and set(value) & set("/\\\0"))

    def __str__(self) -> str:
        told = "a name of one folder, without / and \\" if self.folder else "a text"
        return told + ", or null" * self.null


@dataclass(frozen=True)
class ListOf:
    """A list whose entries are all of one kind.

    Args:
        entry: of each.
        size: how many there are; None: one or more, or `least`.
        rising: none is less than the one before it, as in [low, high].
        null: null is allowed.
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
        told = "[low, high]" if pair else f"a list of {self.size or self.least or 'any number'}"
        told += "" if self.size or not self.least else " or more"
        return f"{told}, each {self.entry}" + ", or null" * self.null


@dataclass(frozen=True)
class Either:
    """Any of several kinds."""

    kinds: tuple[Kind, ...]

    def holds(self, value: Any) -> bool:
        return any(kind.holds(value) for kind in self.kinds)

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


@dataclass(frozen=True)
class Section:
    """A map of further keys."""

    null: bool = False

    def holds(self, value: Any) -> bool:
        return self.null if value is None else isinstance(value, dict)

    def __str__(self) -> str:
        return "a section of keys" + ", or null" * self.null


FLAG = OneOf((True, False), "true or false")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False
