"""Letters: which count, which are taken back, and which contradict each other."""

import pytest

from pal_plugin.evaluation.metrics.choice_letters import (
    named_by_letter,
    named_by_place,
    number_of,
    unstyled,
)

CHOICES = ["dogbarking", "catmeowing", "carhorn", "rain"]


def test_style_and_marks_of_other_scripts_are_taken_off():
    assert unstyled("## **Answer:** `B`\u3002") == "Answer: B."
    assert (
        unstyled("\uff08\uff22\uff09 \u3010C\u3011 \u24b9 \u2192 <b>a</b></s>")
        == "(B) [C] (D) -> a"
    )


def test_letters_are_numbered_within_the_choices():
    assert [number_of(letter, 4) for letter in "AbDe"] == [0, 1, 3, None]
    assert number_of("1", 4) is None


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("B", {1}),
        ("(B) cat meowing", {1}),
        ("(B) dog barking", {0, 1}),  # a contradiction
        ("A or B", None),
        ("(A) or (B)", set()),
        ("The answer is A. The answer is B.", {0, 1}),
        ("A dog barks", None),
        ("I think so", None),
        ("E.", None),
        ("It may be (B)", {1}),
        ("It may be (B) or (C)", None),
        ("(B) says cat meowing, but there is rain", set()),
        ("It is like (B), but there is rain", None),
        ("Unlike (B), it is low", None),
        ("(A) is wrong", None),
        ("A. dog barking\nB. cat meowing\nC. car horn\nAnswer: C", {2}),
    ],
)
def test_what_an_answer_gives_by_letter(said, found):
    assert named_by_letter(said, CHOICES) == found


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("the last one", {3}),
        ("I think it is the first option.", {0}),
        ("option 4", {3}),
        ("option 5", set()),
        ("the first sound", set()),
    ],
)
def test_a_place_among_the_choices(said, found):
    assert named_by_place(said, CHOICES) == found
    assert not named_by_place(said, ["the last", *CHOICES])
