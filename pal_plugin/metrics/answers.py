"""Comparing short answers, and the share that always giving one answer would score."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans({c: " " for c in string.punctuation if c != "'"})


def normalise(text: str) -> str:
    """Lower case, no punctuation, no articles (unless nothing else is left), single spaces."""
    bare = " ".join(text.lower().translate(_PUNCTUATION).replace("'", "").split())
    return " ".join(_ARTICLES.sub(" ", bare).split()) or bare


def is_correct(prediction: str, answers: Sequence[str]) -> bool:
    """Whether the prediction is one of the accepted answers after `normalise`."""
    return normalise(prediction) in {normalise(answer) for answer in answers}


def largest_share(references: Sequence[str]) -> float:
    """Share of the most frequent reference: what always giving it would score."""
    return max(Counter(map(normalise, references)).values()) / len(references)
