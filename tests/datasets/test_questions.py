"""Which questions are asked: by weight and seed in training, all or the first few otherwise."""

from collections import Counter

import pytest

from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.utils.errors import ConfigError

ITEMS = [
    {"task": task, "question_type": kind, "question": f"{kind}{i}", "answer": "x"}
    for task, kind in (("classification", "kind"), ("qa", "count"), ("qa", "present"))
    for i in range(3)
]


def test_weights_decide_how_often_a_task_is_asked():
    mix = QuestionMix({"classification": 3.0, "qa": 1.0}, items_per_clip=1)
    tasks = Counter(mix.draw(ITEMS, str(seed))[0]["task"] for seed in range(800))
    assert 0.70 < tasks["classification"] / 800 < 0.80


def test_nothing_is_asked_twice_and_what_runs_out_ends():
    mix = QuestionMix({"classification": 1.0}, items_per_clip=5)
    numbers = [item["number"] for item in mix.draw(ITEMS, "seed")]
    assert sorted(numbers) == [0, 1, 2]


def test_a_seed_gives_the_same_questions():
    mix = QuestionMix({"classification": 1.0, "qa": 1.0})
    assert mix.draw(ITEMS, "a") == mix.draw(ITEMS, "a")
    assert len({tuple(i["number"] for i in mix.draw(ITEMS, str(s))) for s in range(9)}) > 1


def test_weight_zero_null_and_types_leave_questions_out():
    mix = QuestionMix({"classification": 0.0, "caption": None, "qa": 1.0}, ["count"])
    assert {item["question_type"] for item in mix.all(ITEMS)} == {"count"}


def test_evaluation_asks_the_first_of_each_type():
    mix = QuestionMix({"classification": 1.0, "qa": 1.0}, eval_items_per_type=1)
    assert [item["question"] for item in mix.all(ITEMS)] == ["kind0", "count0", "present0"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"tasks": {"clasification": 1.0}}, "known: classification"),
        ({"tasks": {"qa": 0.0}}, "positive weight"),
        ({"tasks": {"qa": 1.0}, "items_per_clip": 0}, "items_per_clip is 0"),
    ],
)
def test_settings_that_mean_nothing_are_errors(arguments, says):
    with pytest.raises(ConfigError, match=says):
        QuestionMix(**arguments)
