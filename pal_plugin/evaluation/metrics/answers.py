"""Comparing short answers, and the share that always giving one answer would score."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans({c: " " for c in string.punctuation if c != "'"})
#: Characters that are written in several ways.
_SAME = str.maketrans({"\u2212": "-", "\u266f": "#", "\u266d": "b", "'": "", "\u2019": ""})
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
    text = text.lower().translate(_SAME)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)  # 1,000
    text = re.sub(r"(?<![\w.])\.(?=\d)", "0.", text)  # .5
    text = re.sub(r"(?<=\d)\s+(?=%)|(?<=[$€£])\s+(?=\d)", "", text)
    meant = {place for match in _MEANT.finditer(text) for place in range(*match.span())}
    bare = "".join(
        " " if place not in meant and unicodedata.category(c)[0] in "PS" else c
        for place, c in enumerate(text)
    )
    return bare.split()


@lru_cache(maxsize=2**16)  # labels are compared with every answer
def normalise(text: str) -> str:
    """`tokens` without articles, with single spaces; a text of nothing but marks stays as it is."""
    said = " ".join(tokens(text)) or text.strip()
    return said if _KEY.fullmatch(said) else _ARTICLE.sub("", said)


def spoken_words(text: str) -> str:
    """Lower case, no punctuation, no articles (unless nothing else is left): for word errors."""
    bare = " ".join(text.lower().translate(_PUNCTUATION).replace("'", "").split())
    return " ".join(_ARTICLES.sub(" ", bare).split()) or bare


def is_correct(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the accepted answers after `normalise`."""
    return normalise(prediction) in {normalise(answer) for answer in answers}


def largest_share(references: Sequence[str]) -> float:
    """Share of the most frequent reference: what always giving it would score."""
    return max(Counter(map(normalise, references)).values()) / len(references)
