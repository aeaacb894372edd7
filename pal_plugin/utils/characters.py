"""Unicode normalization for comparing texts that look the same.

Python compares code points. A label may come composed or decomposed (NFC, NFD), with invisible
characters, or in the wide letters of East Asian keyboards.
"""

from __future__ import annotations

import unicodedata

#: Invisible: soft hyphen, zero-width space, direction marks, word joiners, byte order mark. Not ZWJ
#: and ZWNJ, which distinguish words in Persian and in Indic scripts.
_UNSEEN = dict.fromkeys(
    [0xAD, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF]
)
#: Characters used as an apostrophe: typographic, of other keyboards, Hebrew's geresh.
APOSTROPHES = "'\u2018\u2019\u201b\u02bb\u02bc\u02b9\u2032\u00b4`\uff07\u05f3"


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC), without invisible characters."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.translate(_UNSEEN))


def narrow(text: str) -> str:
    """The text with full-width letters, digits and marks narrowed, half-width kana widened."""
    if text.isascii():
        return text
    folded = (
        unicodedata.normalize("NFKC", character)
        if unicodedata.decomposition(character).startswith(("<wide>", "<narrow>"))
        else character
        for character in text
    )
    return unicodedata.normalize("NFC", "".join(folded))


def is_mark(character: str) -> bool:
    """Whether a character is punctuation or a symbol, in any script."""
    return unicodedata.category(character)[0] in "PS"
