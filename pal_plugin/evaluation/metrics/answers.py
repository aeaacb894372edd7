"""Comparing short answers, and the share that always giving one answer would score."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from pal_plugin.utils.characters import APOSTROPHES, composed, is_mark, narrow

_ARTICLES = {"a", "an", "the"}
_WITHIN_WORDS = dict.fromkeys(map(ord, APOSTROPHES))
#: Characters that are written in several ways: minus and the shorter dashes, sharp, flat.
_SAME = {**dict.fromkeys([0x2010, 0x2011, 0x2012, 0x2013, 0x2212], "-"), 0x266F: "#", 0x266D: "b"}
#: Marks that tell answers apart: C# and C++, 5%, $5, <5, -5, and 1.5, 0:15, 4/4.
_MEANT = re.compile(
    r"(?<=[^\W_])[#+]+|(?<=\d)%|[$€£](?=\d)|[<>=]+(?=-?[$€£]?\d)|(?<!\w)-(?=[$€£]?\d)"
    r"|(?<=\d)[.:/](?=\d)"
)
#: An article stands in front of a word; "A" alone, in "vitamin A" or in "A minor" is none.
_ARTICLE = re.compile(r"(?<!\S)(?:a|an|the)\s+(?=\S)")
_KEY = re.compile(r"a(?: flat| sharp)?(?: major| minor)?(?: key| scale| chord)?")


def tokens(text: str) -> list[str]:
    """Words in lower case without punctuation, with the marks that tell answers apart."""
    text = _folded(text).translate(_SAME)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,000
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)  # .5
    text = re.sub(r"(?<=\d)\s+(?=%)|(?<=[$€£])\s+(?=\d)", "", text)
    meant = {place for match in _MEANT.finditer(text) for place in range(*match.span())}
    bare = "".join(" " if place not in meant and is_mark(c) else c for place, c in enumerate(text))
    return bare.split()


@lru_cache(maxsize=2**16)  # labels are compared with every answer
def normalise(text: str) -> str:
    """`tokens` without articles, with single spaces; a text of nothing but marks stays as it is."""
    said = " ".join(tokens(text)) or _folded(text).strip()
    return said if _KEY.fullmatch(said) else _ARTICLE.sub("", said)


def spoken_words(text: str) -> str:
    """No case, no punctuation of any script, no articles (unless nothing else is left), in one form
    of Unicode: for word errors."""
    words = "".join(" " if is_mark(c) else c for c in _folded(text)).split()
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def is_correct(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the accepted answers after `normalise`."""
    return normalise(prediction) in {normalise(answer) for answer in answers}


def largest_share(references: Sequence[str]) -> float:
    """Share of the most frequent reference: what always giving it would score."""
    return max(Counter(map(normalise, references)).values()) / len(references)


def _folded(text: str) -> str:
    """Without case and apostrophes, in one form of Unicode."""
    return narrow(composed(text)).translate(_WITHIN_WORDS).casefold()
