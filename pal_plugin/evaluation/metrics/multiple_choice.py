"""Which of the choices an answer in free text means.

Two ways, both reported. `mmau_rule` is the published rule of MMAU, taken as it is. `read_choice`
reads letters and option texts as a person would; what it cannot read is unparsed and never guessed.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence

from pal_plugin.evaluation.metrics.answers import tokens

_WORD = re.compile(r"\b\w+\b")
#: Between sentences; not behind the initials of "J.D. Salinger".
_SENTENCE = re.compile(r"(?<=[^A-Z\s][.!?;])\s+|\n+")
#: Words that make what follows them a conclusion.
_CONCLUDES = re.compile(r"\b(therefore|thus|hence|so|answer|final|finally|conclusion)\b", re.I)
#: In front of a named choice within this many words, it is not meant.
_NEGATIONS = {"not", "no", "isnt", "nor", "neither", "without", "unlike", "than", "instead"}
_NEGATION_REACH = 3

_ALONE = re.compile(r"^[\s(\[\"'*]*([A-Za-z])[\s)\]\"'*.:,]*$")
#: A letter in brackets of any case, or a bare capital that something ends.
_LETTER = r"(?:[(\[]\s*([A-Za-z])\s*[)\]]|\*{0,2}([A-Z])\*{0,2}(?=%s))"
_END = r"\)|[.:,;\]]?(?:\s*$|\s*\n)|[.:,;\]]\s"
_START = re.compile(r"^[\s\"'*]*" + _LETTER % r"\)|[.:](?:\s|$)")
_CONCLUSION = re.compile(
    r"\b(?i:answer|correct)\b[^.\n]{0,40}?\b(?:is|be)\b\s*[:\"'*]*\s*(?i:option|choice)?\s*"
    + _LETTER % _END
    + r"|\b(?i:answer)\W{0,3}[:=]\W{0,3}"
    + _LETTER % _END
    + r"|\b(?i:option|choice)\s+"
    + _LETTER % r"\b"
)
_BRACKETED = re.compile(r"[(\[]([A-Z])[)\]]")
#: Behind a first letter: a second one.
_ANOTHER = re.compile(r"^\W*(?:or|and|/|&)\s*[(\[]?[A-Z]\b")


def mmau_rule(answer: str, prediction: str, choices: Sequence[str]) -> bool:
    """Whether MMAU counts the prediction as right (its repository's `evaluation.py`).

    All words of the answer occur in the prediction, and no word does that only another choice has.
    It compares sets of lower-cased words, so order, negation and letters do not count.
    """
    right, said = _words(answer), _words(prediction)
    others: set[str] = set().union(*(_words(choice) for choice in choices)) - right
    return bool(said) and right <= said and not said & others


def read_choice(prediction: str, choices: Sequence[str]) -> int | None:
    """Number of the choice that an answer means, None where that is not plain.

    In this order: the answer is a choice's text; it is a letter or begins with one; it concludes
    with one ("the answer is (B)", "option B"); exactly one letter stands in brackets; its
    conclusion names exactly one choice; the first sentence that names any names exactly one. A
    letter in front of another choice's text, or one that is itself another choice's text (keys: C,
    G, D), is a contradiction, and unparsed. Letters beyond the choices do not count, nor do choices
    that are named behind "not", "rather than" and the like. Of equal choices it is the first.
    """
    text = prediction.strip()
    squeezed = [_squeezed(choice) for choice in choices]
    found = _equal(text, choices, squeezed)
    if found is None:
        found = _by_letter(text, squeezed)
    if found is None:
        found = _by_words(text, squeezed)
    if len(found) != 1 and len({choices[number] for number in found}) != 1:
        return None
    return min(found)


def shuffled(choices: Sequence[str], seed: int, row: str, number: int) -> list[str]:
    """The choices in the `number`-th shuffled order of a question; the same in every process."""
    order = list(choices)
    random.Random(f"{seed}-{row}-{number}").shuffle(order)
    return order


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _squeezed(text: str) -> str:
    return "".join(tokens(text))


def _equal(text: str, choices: Sequence[str], squeezed: list[str]) -> set[int] | None:
    """Choices whose text the answer is; with the letter's one if it is a letter too."""
    literal = {
        i
        for i, choice in enumerate(choices)
        if choice.strip().lower().rstrip(".") == text.lower().rstrip(".") != ""
    }
    said = _squeezed(text)
    equal = literal or {i for i, choice in enumerate(squeezed) if choice == said != ""}
    alone = _ALONE.match(text)
    if alone and (number := _number(alone[1], len(choices))) is not None:
        return equal | {number}
    return equal or None


def _by_letter(text: str, squeezed: list[str]) -> set[int] | None:
    """Choices that the answer gives by letter, None where it gives no letter."""
    start = _START.match(text)
    matches = [start] if start else []
    if start and _ANOTHER.match(text[start.end() :]):
        return None
    if not start or _number(_of(start), len(squeezed)) is None:
        matches = [m for m in _CONCLUSION.finditer(text) if not _negated(tokens(text[: m.start()]))]
        if not matches:
            matches = list(_BRACKETED.finditer(text))
            if len({_of(match) for match in matches}) > 1:
                return None  # letters that are discussed; the words may tell more
    found: set[int] = set()
    for match in matches:
        at = match.start(match.lastindex)
        whole = _begun(text[at:], squeezed)
        letter = _number(_of(match), len(squeezed))
        if whole is not None and len(squeezed[whole]) > 1:
            found.add(whole)  # "D. H. Lawrence", or the chord "B:maj7"
        elif letter is not None:
            found |= {
                letter,
                *(i for i, choice in enumerate(squeezed) if choice == _of(match).lower()),
            }
            behind = _begun(text[match.end() :].lstrip(" ).:]*\"'"), squeezed)
            if behind is not None and squeezed[behind] != squeezed[letter]:
                found.add(behind)
    return found or None


def _of(match: re.Match) -> str:
    return match[match.lastindex]


def _number(letter: str, count: int) -> int | None:
    number = string.ascii_uppercase.find(letter.upper())
    return number if 0 <= number < count else None


def _begun(text: str, squeezed: list[str]) -> int | None:
    """The longest choice that the text begins with."""
    said = _squeezed(text)
    begun = [(len(c), -i) for i, c in enumerate(squeezed) if c and said.startswith(c)]
    return -max(begun)[1] if begun else None


def _by_words(text: str, squeezed: list[str]) -> set[int]:
    """Choices that the conclusion names, else those of the first sentence that names any."""
    sentences = _SENTENCE.split(text)
    named = [_named(sentence, squeezed) for sentence in sentences]
    concluding = [
        found
        for sentence, found in zip(sentences, named, strict=True)
        if found and _CONCLUDES.search(sentence)
    ]
    if concluding and len(concluding[-1]) == 1:
        return concluding[-1]
    return next((found for found in named if found), set())


def _named(sentence: str, squeezed: list[str]) -> set[int]:
    """Choices whose words stand in the sentence side by side, and are meant there.

    "steel drum" names "Steeldrum". A choice inside a longer one that is named there is not.
    """
    said = tokens(sentence)
    spans = [
        (start, end, number)
        for number, choice in enumerate(squeezed)
        for start, end in _spans(said, choice)
        if not _negated(said[:start])
    ]
    return {
        number
        for start, end, number in spans
        if not any(a <= start and end <= b and b - a > end - start for a, b, _ in spans)
    }


def _spans(said: list[str], wanted: str) -> list[tuple[int, int]]:
    """Where consecutive words, written together, are `wanted`."""
    found = []
    for start in range(len(said)):
        joined = ""
        for end in range(start, len(said)):
            joined += said[end]
            if not wanted.startswith(joined):
                break
            if joined == wanted:
                found.append((start, end + 1))
    return found


def _negated(before: list[str]) -> bool:
    return any(word in _NEGATIONS for word in before[-_NEGATION_REACH:])
