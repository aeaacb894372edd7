"""Items: one form for every task, and what is wrong with those of other makers."""

import pytest

from pal_plugin.corpora.items import (
    caption,
    checked_items,
    checked_text,
    classification,
    item_faults,
    multiple_choice,
    open_question,
    tags,
)
from pal_plugin.utils.errors import ConfigError

GOOD = {"task": "qa", "question": "?", "answer": "a"}


def test_every_task_has_a_question_an_answer_and_what_belongs_to_it():
    assert caption("Describe it.", [" rain ", "a storm"]) == {
        "task": "caption",
        "question_type": "caption",
        "question": "Describe it.",
        "answer": "rain",
        "answers": ["rain", "a storm"],
    }
    assert classification("Which?", "bell", "kind")["answers"] == ["bell"]
    assert tags("Which?", ["bell", "rain"])["answer"] == "bell; rain"
    asked = open_question("qa", "count", "How many?", "2", answers=["2", "two"], facts={})
    assert asked["answers"] == ["2", "two"]
    assert "facts" not in asked  # nothing to tell


def test_fields_that_hold_nothing_are_left_out():
    empty = {"answers": [], "candidates": None, "facts": {}, "question_type": ""}
    assert checked_items([{**GOOD, **empty}]) == [{**GOOD, "question_type": "qa"}]


def test_a_label_has_one_form_and_is_there_once():
    item = {
        "task": "classification",
        "question": "?",
        "answer": "cafe\u0301",
        "labels": ["cafe\u0301"],
    }
    (checked,) = checked_items([item])
    assert (checked["answer"], checked["labels"]) == ("caf\u00e9", ["caf\u00e9"])
    assert classification("?", "cafe\u0301")["answers"] == ["caf\u00e9"]
    assert tags("?", ["cafe\u0301", "caf\u00e9\u200b"])["labels"] == ["caf\u00e9"]
    assert checked_items([{**GOOD, "answer": "cafe\u0301"}])[0]["answer"] == "cafe\u0301"


@pytest.mark.parametrize("bad", [None, "", " ", float("nan"), float("inf"), ["x"], {"A": "x"}])
def test_a_choice_is_a_text_or_a_number(bad):
    with pytest.raises(ConfigError, match="expected text as choice 2, got"):
        multiple_choice("mmau", "?", ["dog", bad], "dog", "kind")
    item = multiple_choice("mmau", "?", [" dog", 1.5], " dog", "kind")
    assert item["candidates"] == [" dog", "1.5"]  # spaces as they were published


def test_an_answer_is_found_among_the_choices_in_any_form_of_unicode():
    item = multiple_choice("mmau", "?", ["caf\u00e9", "dog", "dog"], "cafe\u0301", "kind")
    assert item["answer"] == "caf\u00e9"
    with pytest.raises(ConfigError, match="differ only in Unicode form"):
        multiple_choice("mmau", "?", ["caf\u00e9", "cafe\u0301"], "caf\u00e9", "kind")


def test_choices_are_texts_and_the_answer_is_one_of_them():
    item = multiple_choice("mmau", "How many?", [1, 2], 2, "count")
    assert item["candidates"] == ["1", "2"]
    assert (item["answer"], item["stem"], item["protocol"]) == ("2", "How many?", "mmau")
    with pytest.raises(ConfigError, match=r"answer '3' is not among the choices \['1', '2'\]"):
        multiple_choice("mmau", "How many?", [1, 2], 3, "count")
    with pytest.raises(ConfigError, match="expected a list of choices, got 'ab'"):
        multiple_choice("mmau", "How many?", "ab", "a", "count")


@pytest.mark.parametrize("bad", ["", "  ", None, 3, "\ud800"])
def test_a_text_has_something_in_it(bad):
    assert checked_text(" a ", "label") == "a"
    with pytest.raises(ConfigError, match="expected text as label, got"):
        checked_text(bad, "label")
    with pytest.raises(ConfigError, match="expected a list of captions"):
        caption("?", "one text")


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ("text", "item 0 is 'text', expected an object"),
        ({"task": "qa", "question": ""}, "item 0 has no question, answer"),
        ({**GOOD, "answers": "a"}, "item 0 needs a list as answers"),
        ({**GOOD, "answer": 3}, "item 0 needs text as answer"),
        ({**GOOD, "task": "captoin"}, "Did you mean 'caption'"),
        ({**GOOD, "answers": ["2", 2]}, "item 0 needs text as answers[1], got 2 (int)"),
        ({**GOOD, "answers": [["a"]]}, "item 0 needs text as answers[0], got ['a'] (list)"),
        ({**GOOD, "candidates": ["dog", None]}, "needs text as candidates[1], got None"),
        ({**GOOD, "candidates": ["dog", " "]}, "needs text as candidates[1], got ' '"),
        ({**GOOD, "labels": [float("nan")]}, "needs text as labels[0], got nan"),
        ({**GOOD, "answer": "  "}, "needs text as answer, got '  '"),
        ({**GOOD, "question": "\n"}, "needs text as question, got"),
        ({**GOOD, "answer": "\ud83d"}, "needs text as answer, got an unpaired surrogate"),
        ({**GOOD, "question_type": 3}, "needs text as question_type, got 3"),
        ({**GOOD, "stem": ["q"]}, "needs text as stem"),
        ({**GOOD, "protocol": "mmua"}, "has an unknown protocol 'mmua'. Did you mean"),
        ({**GOOD, "facts": ["x"]}, "needs an object as facts, got ['x']"),
    ],
)
def test_faults_of_other_makers_are_told_by_number(item, fault):
    assert not item_faults([GOOD])
    assert checked_items([GOOD]) == [{**GOOD, "question_type": "qa"}]
    (told,) = item_faults([item, GOOD])
    assert fault in told
    with pytest.raises(ConfigError, match="item 0"):
        checked_items([item, GOOD])
