"""Choices that a text names by their words, and what a text says against one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from pal_plugin.evaluation.metrics.answers import tokens

#: Between sentences; not behind the initials of "J.D. Salinger".
_SENTENCE = re.compile(r"(?<=[^A-Z\s][.!?;])\s+|\n+")
#: Words that make what follows them a conclusion.
_CONCLUDES = re.compile(r"\b(therefore|thus|hence|so|answer|final|finally|conclusion)\b", re.I)
#: What is said with one of these is not yet said.
_WEIGHS = re.compile(
    r"\b(could|might|may|maybe|perhaps|possibly|would|if|whether|at first|initially|options?"
    r"|choices?|consider\w*|thought|seemed)\b|\?\s*$",
    re.I,
)
_CORRECTS = re.compile(r"\W*(but|however|actually|no|wait|in fact|yet|though|although)\b", re.I)
#: In front of a named choice within a few words, it is not meant.
_NEGATED = re.compile(
    r"\b(?:not|no|nor|neither|never|nothing|without|unlike|unlikely|than|instead of|cannot|hardly"
    r"|doubt|excludes?|eliminates?|rules? out|if it were"
    r"|(?:is|was|are|were|do|does|did|ca|could|would|wo|should)nt)\b"
)
#: Behind it, it is not meant either.
_DENIED = re.compile(
    r"(?:(?:is|was|are|were|can|could|would|does|do|did|will|seems|must|should|has)\s(?:\w+ly\s)?"
    r"(?:be\s)?(?:not|never|incorrect|wrong|false|unlikely|absent|excluded|eliminated|ruled out)"
    r"|(?:is|was|are|were|does|did|ca|could|would|wo|has)nt|cannot"
    r"|(?:incorrect|wrong|false|unlikely|excluded|eliminated|ruled out))\b"
)
_REACH = 4
#: Between two of which the first is not meant, as in "no rain, wind or hail": nor is the second.
_JOINS = {"or", "nor", "and", "a", "an", "the", "any"}
#: It negates nothing of what follows.
_NO = re.compile(r"\bno\s*[,:]", re.I)
#: In front of an entry of a list.
_BULLET = re.compile(r"^\W*(?:\d+[.):]|[A-Z][.):]|\([A-Z\d]\))?\W*")


def squeezed(text: str) -> str:
    """The words of a text written together, so that "steel drum" is "Steeldrum"."""
    return "".join(tokens(text))


def negated(before: Sequence[str]) -> bool:
    """Whether the words in front of something say that it is not meant; a "but" ends that."""
    near = " ".join([*before[-_REACH:], ""])
    return bool(_NEGATED.search(near.rpartition("but ")[2]))


def denied(behind: Sequence[str]) -> bool:
    """Whether the words behind something say that it is not meant."""
    return bool(_DENIED.match(" ".join(behind[:6])))


def begun(text: str, choices: Sequence[str]) -> int | None:
    """The longest choice (squeezed) that a text begins with, an article in front of it or not."""
    said = tokens(text)
    found = [
        (len(choice), -number)
        for start in (0, 1)
        if start == 0 or said[:1] in (["a"], ["an"], ["the"])
        for number, choice in enumerate(choices)
        if choice and "".join(said[start:]).startswith(choice)
    ]
    return -max(found)[1] if found else None


def named_by_words(text: str, choices: Sequence[str]) -> set[int]:
    """Choices (squeezed) that the conclusion of a text names, else its first sentence that names
    any; several where it is not plain which is meant.

    A list of choices, and a sentence with all of them, name none. A sentence that weighs a choice
    ("it could be") counts where no other says one; a later one that corrects counts too.
    """
    sentences = _SENTENCE.split(without_lists(text, choices))
    said = [(s, found) for s in sentences if (found := _named(s, choices))]
    if len(choices) > 2:
        said = [(s, found) for s, found in said if len(found) < len(set(choices))]
    concluding = [found for sentence, found in said if _CONCLUDES.search(sentence)]
    if concluding:
        return concluding[-1]
    plain = [(s, found) for s, found in said if not _WEIGHS.search(s)]
    if not plain:
        return set().union(*(found for _, found in said))
    corrected = (found for sentence, found in plain[1:] if _CORRECTS.match(sentence))
    return plain[0][1].union(*corrected)


def without_lists(text: str, choices: Sequence[str]) -> str:
    """The text without lines that are a choice (squeezed) each, where there are several."""
    lines = text.split("\n")
    entries = [squeezed(_BULLET.sub("", line, count=1)) for line in lines]
    if len(set(entries) & set(choices) - {""}) < 2:
        return text
    return "\n".join(
        line for line, entry in zip(lines, entries, strict=True) if entry not in choices
    )


def _named(sentence: str, choices: Sequence[str]) -> set[int]:
    """Choices whose words stand in the sentence side by side, and are meant there.

    A choice inside a longer one that is named there is not.
    """
    said, negating = tokens(sentence), tokens(_NO.sub("yes,", sentence))
    found = [(*span, n) for n, choice in enumerate(choices) for span in spans(said, choice)]
    places = sorted(
        (start, end, number)
        for start, end, number in found
        if not any(a <= start and end <= b and b - a > end - start for a, b, _ in found)
    )
    meant, reached, none = set(), 0, False
    for place, (start, end, number) in enumerate(places):
        # "no rain or wind", "no rain, wind or hail"; but "not rain, wind".
        joined = none and _JOINS.issuperset(said[reached:start])
        none = negated(negating[reached:start]) or (
            joined and _or_follows(said, places[place - 1 :])
        )
        reached = end
        if not none and not denied(said[end:]):
            meant.add(number)
    return meant


def _or_follows(said: Sequence[str], places: Sequence[tuple[int, int, int]]) -> bool:
    """Whether the first of these is followed by the others as one of a list with an "or"."""
    for (_, end, _), (start, _, _) in pairwise(places):
        between = set(said[end:start])
        if between & {"or", "nor", "and"} or not between <= _JOINS:
            return between <= _JOINS
    return False


def spans(said: Sequence[str], wanted: str) -> list[tuple[int, int]]:
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
