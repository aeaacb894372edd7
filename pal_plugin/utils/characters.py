"""Unicode normalization for comparing texts that look the same.

Python compares code points. A label may come composed or decomposed (NFC, NFD), with invisible
characters, or in the wide letters of East Asian keyboards.
"""

from __future__ import annotations

import re
import unicodedata

#: Invisible: soft hyphen, joiners of glyphs and words, zero-width space, direction marks, variation
#: selectors (of emoji, of Mongolian, of ideographs), tags, byte order mark. Not ZWJ and ZWNJ, which
#: distinguish words in Persian and in Indic scripts.
_UNSEEN = dict.fromkeys(
    [
        *(0xAD, 0x34F, 0x61C, 0x200B, 0x200E, 0x200F, 0xFEFF),
        *range(0x180B, 0x1810),
        *range(0x202A, 0x202F),
        *range(0x2060, 0x206A),
        *range(0xFE00, 0xFE10),
        *range(0xE0001, 0xE0080),
        *range(0xE0100, 0xE01F0),
    ]
)
#: Characters used as an apostrophe: typographic, of other keyboards, Hebrew's geresh.
APOSTROPHES = "'\u2018\u2019\u201b\u02bb\u02bc\u02b9\u2032\u00b4`\uff07\u05f3\u055a\ua78c"
#: Letters of these scripts, each with the marks above and below it.
_UNSPACED = re.compile(
    "[\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ec0-\u0ec6\u1000-\u102a\u1780-\u17b3"
    "\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
    "[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u3099\u309a]*"
)


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


def spaced(text: str) -> str:
    """The text with a space around each character of the scripts that write no spaces between words
    (Han, kana, Thai, Lao, Burmese, Khmer), so that the characters count as words."""
    return text if text.isascii() else _UNSPACED.sub(r" \g<0> ", text)
