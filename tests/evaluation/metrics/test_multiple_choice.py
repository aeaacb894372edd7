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


SOUNDS = ["dog barking", "cat meowing", "car horn", "rain"]
LIST = "A. dog barking\nB. cat meowing\nC. car horn\nD. rain\n"


@pytest.mark.parametrize(
    "said",
    [
        *("b", "**B**", "**(B)**", "`B`", "[B]", "{B}", "$B$", '"B"', "B!", "B;", "B:", "<b>B</b>"),
        *("\uff22", "\uff08B\uff09", "\u3010B\u3011", "\u300cB\u300d", "\u24b7", "B\u3002"),
        *("Option B", "option b", "Choice (B).", "Answer B", "answer:B", "**Answer:** B", "B</s>"),
        *("### Answer\nB", "Answer:\n\n**B**", "Final Answer: (B) cat meowing", '{"answer": "B"}'),
        *("The answer is b", "The answer is (b).", "the correct answer is b) cat meowing"),
        *("The best choice is option B.", "The answer should be B because it purrs"),
        *('The correct answer is "B".', "The correct answer is **B. cat meowing**."),
        *(
            "I'd go with B.",
            "I think it's B.",
            "I believe (B) is correct.",
            "So B",
            "=> B",
            "\u2192 B",
        ),
        *("B is the right answer", "(B) seems to be the best choice", "It must be B."),
        *("\u7b54\u6848\u662fB", "\u7b54\u6848\uff1aB", "\u9009B"),
        *("B cat meowing", "B - cat meowing", "B \u2014 cat meowing", "B (cat meowing)"),
        *("b) cat meowing", "b. cat meowing", "B\ncat meowing", "cat meowing (B)"),
    ],
)
def test_a_letter_in_every_dress(said):
    assert read_choice(said, SOUNDS) == 1


@pytest.mark.parametrize(
    "said",
    [
        "B\n\nExplanation: the dog barking would be A",
        "B\nThere is no steady noise as with rain.",
        "B\n\nA dog barking would sound lower.",
        "B\n\nThe dog barking is option A.",
        "B. The dog barking is not heard",
        "B, since there is no dog barking.",
        "B, not A",
        "B rather than A",
        "not A but B",
        "Not (A), but (B).",
        "A is wrong. B is correct.",
        "The answer isn't A, it's B.",
        "I don't think it is A. The answer is B.",
        "Both A and C are wrong, the answer is B.",
        "Is it A? No, the answer is B.",
        "I considered A and C, but the answer is B.",
        "Choose A, B, C or D. The answer is B.",
        "The answer is B. The other options, A. dog barking and C. car horn, are not heard.",
        "The answer is option B: cat meowing. Option A: dog barking is incorrect.",
        f"{LIST}\nThe answer is B.",
        f"{LIST}\nB",
        f"{LIST}I hear a cat meowing.",
        f"Options: {LIST} Answer: B",
        "(A) dog barking (B) cat meowing (C) car horn (D) rain. The correct answer is (B).",
        "A) The dog is not there.\nB) This fits.\nC) No horn.\nSo the answer is B.",
        "1. dog barking\n2. cat meowing\n3. car horn\n4. rain\n\nI hear a cat meowing.",
        "The options are dog barking, cat meowing, car horn and rain. It is a cat meowing.",
        "Dog barking is not heard. Cat meowing is.",
        "Dog barking can be ruled out. It is cat meowing.",
        "There is no dog barking, but a cat meowing.",
        "At first it could be a dog barking. It is a cat meowing.",
    ],
)
def test_a_choice_among_words_about_the_others(said):
    assert read_choice(said, SOUNDS) == 1


@pytest.mark.parametrize(
    "said",
    [
        "<think>\nThe dog barking is not there.\n</think>\n\ncat meowing",
        "<think>Dog barking? It may be (A).</think>\nB",
        "it may be A</think>B",
        "<answer>B</answer> as a dog barking is lower",
        "<think>A</think><answer>cat meowing</answer>",
        r"So (A) is wrong: $\boxed{\text{B. cat meowing}}$",
    ],
)
def test_the_answer_behind_thoughts_and_in_marks(said):
    assert read_choice(said, SOUNDS) == 1


@pytest.mark.parametrize(
    "said",
    [
        *(
            r"\(B\)",
            r"\boxed B",
            r"\boxed{\mathrm{B}}",
            "_B_",
            "~~A~~ B",
            "B<eos>",
            "\u00abB\u00bb",
        ),
        *(
            "\u3008B\u3009",
            "\u300aB\u300b",
            "\u249d",
            "\u24d1",
            "\U0001f131",
            "\U0001d401",
            "B\uff0c\u5584",
        ),
        *("Sure! B", "Okay, B", "Hmm, B.", "Assistant: B", "Response:\nB", "[ANSWER] B", "A: B"),
        *("it's b", "so b", "I choose b", "b is correct", "Selected: B", "Ans. B", "opt B"),
        *("I am going with B", "So, B it is.", "B I think", "The best match is B.", "Verdict: B"),
        *("Perhaps B", "It might be B.", "Definitely B.", "Not A. B.", "The answer: B (not A)"),
        *(
            "Antwort: B",
            "Die Antwort ist B.",
            "La r\u00e9ponse est B",
            "La respuesta correcta es B.",
        ),
        *(
            "\u041e\u0442\u0432\u0435\u0442: B",
            "\u7b54\u3048\u306fB\u3067\u3059",
            "\uc815\ub2f5: B",
            "\u7b54\u6848\u662fB\u3001",
        ),
        *("the second one", "The second option.", "Option 2", "It's the second choice, I think"),
        *("The answer is B, and A is wrong.", "A is the wrong answer. B is the right answer."),
        *("Between (A) and (B), the answer is (B).", "<response>B</response>"),
        "<|channel|>analysis<|message|>A?<|end|><|start|>assistant<|channel|>final<|message|>B",
        "analysisIs it A?assistantfinalB",
    ],
)
def test_a_letter_that_is_readable_is_read(said):
    assert read_choice(said, SOUNDS) == 1


@pytest.mark.parametrize(
    "said",
    [
        *("B; C", "A. B.", "(A)(B)(C)(D)", "A) B) C)", "A vs. B", "A, B are correct"),
        *(
            "It is A, possibly B",
            "It is A or possibly B",
            "A, but maybe B",
            "A is the wrong answer.",
        ),
        *("The answer is A or the answer is B", "The answer is A. Actually, B.", "Dr. A"),
        *("Option 9", "option 1 or option 2", "the second one or the third one", "It is a"),
        *("analysisIt may be B", "<|channel|>analysis<|message|>B"),
    ],
)
def test_a_letter_that_is_not_meant_alone_is_not_read(said):
    assert read_choice(said, SOUNDS) is None


def test_words_in_front_of_an_answer_may_be_the_answer():
    assert read_choice("Right.", ["Left", "Right"]) == 1
    assert read_choice("Yes, a dog", ["No", "Yes"]) == 1
    assert read_choice("the second one", ["the second is louder", "the first one"]) is None


@pytest.mark.parametrize(
    "said",
    [
        *("A or B", "A/B", "A and B", "A, B", "A, B and C", "(A), (B)", "Either A or B"),
        *("The answer is (A) or (B).", "The answer is either A or B", "Option A or option B"),
        *("A. cat meowing", "(A) a cat meowing", "B dog barking", "The answer is (A) cat meowing"),
        *("The answer is not A.", "It cannot be A", "I don't think it is A.", "Neither A nor B"),
        *("A is not the correct answer", "(A) is wrong", "Option A is incorrect", "Is it A?"),
        *("I think so", "A loud noise", "The answer is a loud sound", "The answer is A loud bark"),
        *("<think>The answer is A", "<think>A</think>", "<answer>A</answer><answer>B</answer>"),
        *("(E)", "None of the above", "dog barking or cat meowing", "A dog? A cat?"),
        "Option A describes a dog barking, but I hear a cat meowing",
        "I hear a dog barking. However, it is a cat meowing.",
        "Let me see: (A) dog barking: no. (B) cat meowing: yes.",
        "A. dog barking - incorrect\nB. cat meowing - correct\nC. car horn - incorrect",
        "A: 10 %, B: 90 %",
        "A. No wait, B.",
        *("I hear nothing like a dog barking.", "This rules out dog barking.", "B\nA", "A? No. B."),
    ],
)
def test_what_means_none_or_several_is_unparsed(said):
    assert read_choice(said, SOUNDS) is None


@pytest.mark.parametrize(
    ("said", "choices", "meant"),
    [
        ("A dog", ["A dog", "A cat"], 0),
        ("A cat, not a dog", ["A dog", "A cat"], 1),
        ("B. A dog", ["A dog", "A cat"], None),
        ("It is A minor.", ["A minor", "B minor", "C major"], 0),
        ("A. B minor", ["A minor", "B minor", "C major"], None),
        ("No, there is no dog.", ["yes", "no"], 1),
        ("I hear 3 sounds, not 2.", ["1", "2", "3"], 2),
        ("I think it's the piano.", ["I don't know", "guitar", "piano"], 2),
        ("neither happy nor sad but angry", ["happy", "sad", "angry"], 2),
        ("The right answer is left", ["left", "right"], None),
        ("cafe\u0301", ["caf\u00e9", "bar"], 0),
        ("A. John F. Kennedy\nB. L. B. Johnson\nB", ["John F. Kennedy", "L. B. Johnson"], 1),
        ("A. It stays, but ends.\nB. It ends.\nB", ["It stays, but ends.", "It ends."], 1),
        ("It is vitamin C.", ["Plan B", "Vitamin C", "Type A"], 1),
    ],
)
def test_choices_of_other_questions(said, choices, meant):
    assert read_choice(said, choices) == meant


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
