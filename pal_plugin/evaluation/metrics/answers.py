"""Exact match of short answers, and the accuracy of a constant answer."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pal_plugin.utils.characters import APOSTROPHES, composed, is_mark, narrow, spaced

_ARTICLES = {"a", "an", "the"}
_WITHIN_WORDS = dict.fromkeys(map(ord, APOSTROPHES))
#: Characters with several forms: minus and the shorter dashes, sharp, flat.
_SAME = {**dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2212], "-"), 0x266F: "#", 0x266D: "b"}
#: Marks that distinguish answers: C# and C++, 5%, $5, <5, -5, and 1.5, 0:15, 4/4.
_MEANT = re.compile(
    r"(?<=[^\W_])[#+]+|(?<=\d)%|[$€£](?=\d)|[<>=]+(?=-?[$€£]?\d)|(?<!\w)-(?=[$€£]?\d)"
    r"|(?<=\d)[.:/](?=\d)"
)
#: 1,000, or with a no-break space: 1 000.
_THOUSANDS = re.compile(r"(?<=\d)[,\u00a0\u202f](?=\d{3}(?!\d))")
#: An article precedes a word; "A" alone, in "vitamin A" or in "A minor" is not one.
_ARTICLE = re.compile(r"(?<!\S)(?:a|an|the)\s+(?=\S)")
_KEY = re.compile(r"a(?: flat| sharp)?(?: major| minor)?(?: key| scale| chord)?")


def tokens(text: str) -> list[str]:
    """Lower-case words without punctuation, except for marks that distinguish answers."""
    text = _folded(text).translate(_SAME)
    text = _THOUSANDS.sub("", text)
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)  # .5
    text = re.sub(r"(?<=\d)\s+(?=%)|(?<=[$€£])\s+(?=\d)", "", text)
    meant = {place for match in _MEANT.finditer(text) for place in range(*match.span())}
    bare = "".join(" " if place not in meant and is_mark(c) else c for place, c in enumerate(text))
    return bare.split()


@lru_cache(maxsize=2**16)  # labels are compared with every answer
def normalise(text: str) -> str:
    """`tokens` without articles, joined by spaces; a text of marks only is returned unchanged."""
    said = " ".join(spaced(" ".join(tokens(text))).split()) or _folded(text).strip()
    return said if _KEY.fullmatch(said) else _ARTICLE.sub("", said)


def spoken_words(text: str) -> str:
    """Normalized text for word error rates: lower case, without punctuation of any script and
    articles (unless nothing else is left), in one Unicode form. In scripts without spaces between
    words (Chinese) characters count as words."""
    text = _THOUSANDS.sub("", _folded(text))
    words = spaced("".join(" " if is_mark(c) else c for c in text)).split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def is_correct(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction equals an accepted answer after `normalise`."""
    return normalise(prediction) in {normalise(answer) for answer in answers}


def largest_share(references: Sequence[str]) -> float:
    """Share of the most frequent reference: the accuracy of always answering it."""
    return max(Counter(map(normalise, references)).values()) / len(references)


def _folded(text: str) -> str:
    """Lower case, without apostrophes, in one Unicode form, with ASCII digits."""
    text = narrow(composed(text)).translate(_WITHIN_WORDS).casefold()
    if text.isascii():
        return text
    text = "".join(str(unicodedata.digit(c)) if c.isdecimal() else c for c in text)
    return text.replace("i\u0307", "i")  # the Turkish capital leaves its dot
