"""Which of the choices an answer in free text means.

Two ways, both reported. `mmau_rule` is the published rule of MMAU, taken as it is. `read_choice`
reads letters and option texts as a person would; what it cannot read is unparsed and never guessed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from pal_plugin.evaluation.metrics.choice_letters import (
    named_by_letter,
    named_by_place,
    number_of,
    unstyled,
)
from pal_plugin.evaluation.metrics.choice_words import named_by_words, squeezed
from pal_plugin.evaluation.metrics.final_answer import final_answers

_WORD = re.compile(r"\b\w+\b")
_ALONE = re.compile(r"^[\s()\[\]{}<>\"'.:,;!|~]*([A-Za-z])[\s()\[\]{}<>\"'.:,;!|~]*$")


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

    Thoughts (`<think>`) are no answer; parts that are marked as the answer (`<answer>`, `\\boxed`)
    are all of it, and must agree. Of these, in this order: it is a choice's text; it gives a letter
    (`named_by_letter`); its words name exactly one choice (`named_by_words`); it says the place of
    one (`named_by_place`). Of equal choices it is the first.
    """
    whole = prediction.strip() in {choice.strip() for choice in choices}
    answers = [prediction] if whole else final_answers(prediction)
    read = {_read(answer.strip(), choices) for answer in answers}
    return read.pop() if len(read) == 1 else None


def shuffled(choices: Sequence[str], seed: int, row: str, number: int) -> list[str]:
    """The choices in the `number`-th shuffled order of a question; the same in every process."""
    order = list(choices)
    random.Random(f"{seed}-{row}-{number}").shuffle(order)
    return order


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _read(text: str, choices: Sequence[str]) -> int | None:
    words, plain = [squeezed(choice) for choice in choices], unstyled(text)
    found = _equal(text, plain, choices, words)
    if found is None:
        found = named_by_letter(plain, words)
    if found is None:
        found = named_by_words(plain, words) or named_by_place(plain, choices)
    if len(found) != 1 and len({choices[number] for number in found}) != 1:
        return None
    return min(found)


def _equal(text: str, plain: str, choices: Sequence[str], words: list[str]) -> set[int] | None:
    """Choices whose text the answer is; with the letter's one if it is a letter too."""
    literal = {
        i
        for i, choice in enumerate(choices)
        if choice.strip().lower().rstrip(".") == text.lower().rstrip(".") != ""
    }
    said = squeezed(text)
    equal = literal or {i for i, choice in enumerate(words) if choice == said != ""}
    alone = _ALONE.match(plain)
    if alone and (number := number_of(alone[1], len(choices))) is not None:
        return equal | {number}
    return equal or None
