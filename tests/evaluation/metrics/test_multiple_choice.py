"""Reading choices out of answers: hand-made cases, and real answers of Qwen2-Audio with a judge's
reading."""

import json
import re
from pathlib import Path

import pytest

from pal_plugin.evaluation.metrics.multiple_choice import mmau_rule, read_choice, shuffled

LOGS = Path(__file__).parents[4] / "shared" / "data" / "annotations" / "audiobench_logs"
CHOICES = ["Man", "Woman", "Old man", "Robot voice"]


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("Man", True),
        ("The speaker is a man.", True),
        ("An old man", False),  # "old" is a word of another choice only
        ("man or woman", False),
        ("It is not a man", True),  # the rule knows no negation
        ("(A)", False),  # nor letters
        ("", False),
        ("mankind", False),
    ],
)
def test_mmaus_rule_is_as_published(said, right):
    assert mmau_rule("Man", said, CHOICES) is right


def test_mmaus_rule_needs_all_words_of_the_answer():
    assert mmau_rule("Robot voice", "The voice of a robot", CHOICES)
    assert not mmau_rule("Robot voice", "a robot", CHOICES)


@pytest.mark.parametrize(
    ("said", "choice"),
    [
        ("B", 1),
        ("(b)", 1),
        ("b.", 1),
        ("**C**", 2),
        ("(B) Woman", 1),
        ("B. Woman", 1),
        ("B) a woman", 1),
        ("The answer is (D).", 3),
        ("The correct answer is: D", 3),
        ("Answer: C.", 2),
        ("I would choose option B because of the pitch", 1),
        ("Unlike (A), the pitch is high. The answer is (B).", 1),
        ("It must be (C)", 2),
        ("woman", 1),
        ("The speaker is a Woman.", 1),
        ("It sounds like an old man speaking", 2),  # and not "man" inside it
        ("a robotvoice", 3),
        ("Not a man. It is a woman.", 1),
        ("A woman rather than a man speaks", 1),
        ("It could be a man. Therefore, the answer is woman.", 1),
        ("It is a man. A woman is not heard.", 0),
    ],
)
def test_what_a_person_would_read(said, choice):
    assert read_choice(said, CHOICES) == choice


@pytest.mark.parametrize(
    "said",
    [
        "",
        "I cannot tell",
        "(E)",
        "E",
        "(A) or (B)",
        "The answer is (A). The answer is (B).",
        "a man and a woman",
        "(A) Woman",  # the letter and the text contradict each other
        "A fast tempo",  # an article
        "humans",
        "Neither man nor woman",
    ],
)
def test_what_is_not_plain_is_not_guessed(said):
    assert read_choice(said, CHOICES) is None


def test_choices_that_are_letters_themselves():
    keys = ["C", "G", "D", "F"]
    assert read_choice("G", keys) == 1  # no seventh choice
    assert read_choice("C", keys) is None  # the first choice, or the third
    assert read_choice("(C)", keys) is None
    assert read_choice("D", ["A", "B", "C", "D"]) == 3


@pytest.mark.parametrize("form", ["{}", "{}.", "It is {}", "The answer is {}."])
def test_choices_as_they_occur_in_mmau(form):
    chords = ["B:maj7/1", "A#:hdim7(11)/1", "A:7/1", "G#:min7(4,*5)/1"]
    writers = ["Mark Twain", "F. Scott Fitzgerald", "D. H. Lawrence", "J.D. Salinger"]
    for choices in (chords, writers):
        for number, choice in enumerate(choices):
            assert read_choice(form.format(choice), choices) == number
    assert read_choice("A#", ["G", "A#", "A", "E"]) == 1


def test_equal_choices_are_one_and_others_are_not_told_apart():
    assert read_choice("both are sad", ["one is", "Both are sad.", "Both are sad."]) == 1
    assert read_choice("The answer is dog", ["Dog", "dog", "cat"]) is None


def test_orders_follow_from_seed_row_and_number():
    orders = [shuffled(CHOICES, 0, "row", number) for number in range(20)]
    assert all(sorted(order) == sorted(CHOICES) for order in orders)
    assert len({tuple(order) for order in orders}) > 8
    assert orders == [shuffled(CHOICES, 0, "row", number) for number in range(20)]
    assert orders != [shuffled(CHOICES, 1, "row", number) for number in range(20)]
    assert orders != [shuffled(CHOICES, 0, "other", number) for number in range(20)]


@pytest.mark.shared
@pytest.mark.skipif(not LOGS.is_dir(), reason=f"no real answers in {LOGS}")
def test_real_muchomusic_answers_are_read_as_the_judge_read_them():
    path = LOGS / "Qwen2-Audio-7B-Instruct_muchomusic_test_gpt4o_judge_score.json"
    details = json.loads(path.read_text("utf-8"))["details"]
    assert len(details) == 20
    parser, rule = 0, 0
    for row in details:
        listed = row["question"].split("Choices:")[1]
        choices = [c.strip() for c in re.split(r"\([A-D]\)", listed)[1:]]
        answer = re.sub(r"^\([A-D]\)", "", row["reference"]).strip()
        assert answer in choices
        judged = row["rate_score"] == 1
        read = read_choice(row["model_prediction"], choices)
        parser += (read is not None and choices[read] == answer) == judged
        rule += mmau_rule(answer, row["model_prediction"], choices) == judged
    assert parser >= 18
    assert (parser, rule) == (20, 11)  # the numbers that docs/evaluation.md reports
