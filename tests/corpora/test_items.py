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


def test_choices_are_texts_and_the_answer_is_one_of_them():
    item = multiple_choice("mmau", "How many?", [1, 2], 2, "count")
    assert item["candidates"] == ["1", "2"]
    assert (item["answer"], item["stem"], item["protocol"]) == ("2", "How many?", "mmau")
    with pytest.raises(ConfigError, match=r"the answer '3' is not among the choices \['1', '2'\]"):
        multiple_choice("mmau", "How many?", [1, 2], 3, "count")
    with pytest.raises(ConfigError, match="expected a list of choices, got 'ab'"):
        multiple_choice("mmau", "How many?", "ab", "a", "count")


@pytest.mark.parametrize("bad", ["", "  ", None, 3, "\ud800"])
def test_a_text_has_something_in_it(bad):
    assert checked_text(" a ", "label") == "a"
    with pytest.raises(ConfigError, match="expected a text as label, got"):
        checked_text(bad, "label")
    with pytest.raises(ConfigError, match="expected a list of captions"):
        caption("?", "one text")


GOOD = {"task": "qa", "question": "?", "answer": "a"}


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        ("text", "item 0 is 'text', expected an object"),
        ({"task": "qa", "question": ""}, "item 0 has no question, answer"),
        ({**GOOD, "answers": "a"}, "item 0 has no list as answers"),
        ({**GOOD, "answer": 3}, "item 0 has no text as answer"),
        ({**GOOD, "task": "captoin"}, "Did you mean 'caption'"),
    ],
)
def test_faults_of_other_makers_are_told_by_number(item, fault):
    assert not item_faults([GOOD])
    assert checked_items([GOOD]) == [{**GOOD, "question_type": "qa"}]
    (told,) = item_faults([item, GOOD])
    assert fault in told
    with pytest.raises(ConfigError, match="item 0"):
        checked_items([item, GOOD])
