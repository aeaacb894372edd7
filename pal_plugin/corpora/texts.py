"""What a text from somebody's file must be before it is asked, learned or ranked."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from pal_plugin.utils.characters import APOSTROPHES, composed, narrow
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.printable import printable

#: How `same_in_print` compares: all apostrophes and all short dashes are one.
_PRINTED = {ord(c): "'" for c in APOSTROPHES} | dict.fromkeys([0x2010, 0x2011, 0x2013, 0x2212], "-")


def text_fault(value: Any) -> str | None:
    """What came in place of a text that has something in it ("got 3 (int)"); None where one came.

    A byte that is not UTF-8 is known by `tables.read_text`, which keeps it.
    """
    if not isinstance(value, str):
        return f"got {value!r:.80} ({type(value).__name__})"
    if not composed(value).strip():
        return f"got {value!r:.80}"
    if any("\udc80" <= character <= "\udcff" for character in value):
        return f"got bytes that are not UTF-8 in '{printable(value):.80}'; save the file as UTF-8"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return f"got half of a character in {value!r:.80}"
    return f"got a NUL character in {value!r:.80}" if "\0" in value else None


def checked_text(value: Any, name: str) -> str:
    """A text that has something in it, without the space around it.

    Raises:
        ConfigError: it is empty, no text or damaged; `name` says what it should be.
    """
    fault = text_fault(value)
    if fault is not None:
        raise ConfigError(f"expected a text as {name}, {fault}")
    return value.strip()


def checked_label(value: Any, name: str) -> str:
    """A label in one form (`one_form`).

    Raises:
        ConfigError: as `checked_text`.
    """
    return one_form(checked_text(value, name))


def one_form(label: str) -> str:
    """A label as it is compared: composed, without characters that are never seen and wide letters,
    with single spaces. So one label that came in two forms of Unicode stays one."""
    return " ".join(narrow(composed(label)).split())


def same_in_print(labels: Iterable[str]) -> list[str]:
    """Labels that differ only in an apostrophe, a dash or a ligature, a line each group."""
    printed: dict[str, list[str]] = {}
    for label in labels:
        printed.setdefault(unicodedata.normalize("NFKC", label.translate(_PRINTED)), []).append(
            label
        )
    return [
        f"the labels {', '.join(map(repr, several))} read the same; expected one of them"
        for several in printed.values()
        if len(several) > 1
    ]
