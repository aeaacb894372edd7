"""Choices named by their words, and words against them."""

import pytest

from pal_plugin.evaluation.metrics.choice_words import (
    begun,
    denied,
    named_by_words,
    negated,
    spans,
    squeezed,
)

CHOICES = ["dogbarking", "catmeowing", "rain", "rainonglass"]


def test_words_are_written_together():
    assert squeezed("A steel-drum!") == "asteeldrum"


def test_spans_are_of_whole_words():
    assert spans(["a", "steel", "drum", "steeldrum"], "steeldrum") == [(1, 3), (3, 4)]
    assert spans(["steel", "drums"], "steeldrum") == []


def test_a_text_begins_with_its_longest_choice():
    assert begun("rain on glass, loud", CHOICES) == 3
    assert begun("The dog barking", CHOICES) == 0
    assert begun("loud rain", CHOICES) is None


@pytest.mark.parametrize(
    ("before", "is_negated"),
    [("it is not a", True), ("not loud but a", False), ("instead of", True), ("instead a", False)],
)
def test_words_in_front_that_take_a_choice_back(before, is_negated):
    assert negated(before.split()) is is_negated


@pytest.mark.parametrize(
    ("behind", "is_denied"),
    [
        ("is not heard", True),
        ("isnt there", True),
        ("can be ruled out", True),
        ("is clearly wrong", True),
        ("not dog barking", False),
        ("is heard", False),
        ("because it is not loud", False),
    ],
)
def test_words_behind_that_take_a_choice_back(behind, is_denied):
    assert denied(behind.split()) is is_denied


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("I hear rain on glass.", {3}),
        ("Rain. Then a cat meowing.", {2}),
        ("It could be rain.", {2}),
        ("It could be rain. It is a cat meowing.", {1}),
        ("Is it rain? A cat meowing.", {1}),
        ("It may be rain. It may be a cat meowing.", {1, 2}),
        ("It is rain. No, a cat meowing.", {1, 2}),
        ("Rain is loud. Therefore, the answer is dog barking.", {0}),
        ("So it is rain or a dog barking.", {0, 2}),
        ("- dog barking\n- cat meowing\n- rain\nI hear rain.", {2}),
        ("Dog barking, cat meowing, rain, rain on glass? Rain.", {2}),
        ("training", set()),
        ("There is no rain, dog barking or cat meowing.", set()),
        ("It does not sound like rain.", set()),
        ("not rain, a cat meowing", {1}),
        ("not rain or a cat meowing", set()),
        ("neither rain nor dog barking but a cat meowing", {1}),
        ("no rain on glass", set()),
        ("There is a cat meowing; no rain", {1}),
    ],
)
def test_what_a_text_names(said, found):
    assert named_by_words(said, CHOICES) == found
