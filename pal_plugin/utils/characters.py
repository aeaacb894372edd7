"""Characters that are written in several ways and read as one: for comparing texts.

Python compares code points. One label may come composed and decomposed (NFC, NFD), with a character
in it that nobody sees, or in the wide letters of East Asian keyboards.
"""

from __future__ import annotations

import unicodedata

#: Shown as nothing: soft hyphen, zero-width space, marks of direction, joiners of words, byte order
#: mark. Not ZWJ and ZWNJ, by which words of Persian and of Indian scripts differ.
_UNSEEN = dict.fromkeys(
    [0xAD, 0x180E, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF]
)
#: What stands in a word as an apostrophe: typographic, of other keyboards, Hebrew's geresh.
APOSTROPHES = "'\u2018\u2019\u201b\u02bb\u02bc\u02b9\u2032\u00b4`\uff07\u05f3"


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC), without characters that are never seen."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", text.translate(_UNSEEN))


def narrow(text: str) -> str:
    """The text with wide letters, digits and marks as the usual ones, half-width kana as whole."""
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
    """Whether it is punctuation or a symbol, of any script."""
    return unicodedata.category(character)[0] in "PS"
