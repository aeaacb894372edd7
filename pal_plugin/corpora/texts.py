"""Validation and normalization of texts from annotation files."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

from pal_plugin.utils.characters import APOSTROPHES, composed, narrow
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.printable import printable

#: Characters that `same_in_print` maps to one: apostrophes and short dashes.
_PRINTED = {ord(c): "'" for c in APOSTROPHES} | dict.fromkeys([0x2010, 0x2011, 0x2013, 0x2212], "-")


def text_fault(value: Any) -> str | None:
    """Why a value is not usable, non-blank text, such as "got 3 (int)"; None if it is.

    Undecodable bytes appear as the surrogates that `tables.read_text` leaves.
    """
    if not isinstance(value, str):
        return f"got {value!r:.80} ({type(value).__name__})"
    if not composed(value).strip():
        return f"got {value!r:.80}"
    if any("\udc80" <= character <= "\udcff" for character in value):
        return f"got bytes that are not UTF-8 in '{printable(value):.80}'; save the file as UTF-8"
    if any("\ud800" <= character <= "\udfff" for character in value):
        return f"got an unpaired surrogate in {value!r:.80}"
    return f"got a NUL character in {value!r:.80}" if "\0" in value else None


def checked_text(value: Any, name: str) -> str:
    """A non-blank text, stripped.

    Raises:
        ConfigError: if it is empty, not text or damaged; `name` is used in the message.
    """
    fault = text_fault(value)
    if fault is not None:
        raise ConfigError(f"expected text as {name}, {fault}")
    return value.strip()


def checked_label(value: Any, name: str) -> str:
    """A label, normalized by `one_form`.

    Raises:
        ConfigError: as `checked_text`.
    """
    return one_form(checked_text(value, name))


def one_form(label: str) -> str:
    """Normalizes a label for comparison: composed Unicode, no invisible or full-width characters,
    single spaces. So a label in two Unicode forms stays one label."""
    return " ".join(narrow(composed(label)).split())


def same_in_print(labels: Iterable[str]) -> list[str]:
    """Labels that differ only in an apostrophe, a dash or a ligature; one line per group."""
    printed: dict[str, list[str]] = {}
    for label in labels:
        printed.setdefault(unicodedata.normalize("NFKC", label.translate(_PRINTED)), []).append(
            label
        )
    return [
        f"labels {', '.join(map(repr, several))} look the same; expected one of them"
        for several in printed.values()
        if len(several) > 1
    ]
