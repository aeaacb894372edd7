"""The three ways side by side: loaded when asked, once, and each with its own answers."""

import re
from html import escape

import pytest

from pal_plugin.hosts.page import compared
from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.compared import OF_POCKET, POCKET, SMALL, Compared, types
from pal_plugin.hosts.page.talk import Talk


@pytest.mark.slow
def test_each_model_is_loaded_at_its_first_question_and_answers_itself(tiny_model, two_clips):
    loaded = []

    def load(kind):
        loaded.append(kind)
        return tiny_model(kind)

    side = Compared({"PLITS": "plits", "LAL": "lal"}, load, max_new_tokens=6)
    assert not loaded
    messages = Talk().asking("What is it?", PageClip("bell", *two_clips["audio"][0])).alone()
    first = list(side.ask(messages))
    assert loaded == ["plits", "lal"]
    assert "plits: loading" in first[0]
    assert "pal-cursor" in first[0]
    *_, again = side.ask(messages)
    side.close()
    assert loaded == ["plits", "lal"]
    assert again == first[-1]
    assert "pal-cursor" not in again
    found = re.findall(r"</p><p>(?:<span.*?>)?(.*?)<", again)
    expected = []
    for kind in ("plits", "lal"):
        for heard in (True, False):
            samples = {"messages": [messages], "audio_mask": [heard]}
            expected += tiny_model(kind).generate(samples, max_new_tokens=6)
    assert found == [escape(text) or "no text" for text in expected]


def test_the_small_types_are_chosen_where_all_have_weights(monkeypatch):
    monkeypatch.setattr(compared, "_has_weights", lambda kind: True)
    assert types() == SMALL
    monkeypatch.setattr(compared, "_has_weights", lambda kind: kind != "small_pal")
    assert types() == POCKET


def test_weights_are_looked_for_where_they_would_be_loaded_from(monkeypatch, tmp_path):
    assert all(map(compared._has_weights, POCKET.values()))
    monkeypatch.setenv("PAL_CACHE", str(tmp_path))
    assert not any(map(compared._has_weights, SMALL.values()))


@pytest.mark.parametrize("kinds", [POCKET, SMALL])
def test_the_pocket_models_are_said_to_be_no_judges_of_real_sounds(kinds):
    assert (OF_POCKET in Compared(kinds).note) == (kinds is POCKET)
