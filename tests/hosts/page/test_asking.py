"""Answers as they come, with and without the audio; and errors as sentences."""

from itertools import pairwise

import pytest

from pal_plugin.hosts.page.asking import answers, sentences
from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.talk import Talk
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Busy, Stopped


@pytest.fixture
def talk(two_clips):
    return Talk().asking("What is it?", PageClip("bell", *two_clips["audio"][0]))


def test_both_answers_come_and_are_those_of_the_model(tiny_model, talk):
    model = tiny_model("lal")
    with Engine(model) as engine:
        steps = list(answers(engine, talk.messages(), max_new_tokens=6))
    batch = {"messages": [talk.messages()]}
    heard = model.generate(batch, max_new_tokens=6)[0]
    masked = model.generate({**batch, "audio_mask": [False]}, max_new_tokens=6)[0]
    assert steps[-1] == (heard, masked)
    assert heard != masked
    for before, after in pairwise(steps):
        assert all(now.startswith(was) for was, now in zip(before, after, strict=True))
    assert len(steps) > 4


def test_who_stops_reading_gives_the_answers_up(tiny_model, talk):
    with Engine(tiny_model("lal")) as engine:
        coming = answers(engine, talk.messages(), max_new_tokens=1500)
        next(coming)
        coming.close()
        engine.call(list)  # once the steps that run are over
        assert list(answers(engine, talk.messages(), max_new_tokens=2))
        assert engine.stats()["cancelled"] == 2


def test_what_cannot_be_answered_is_raised_where_it_is_read(tiny_model, talk):
    with Engine(tiny_model("lal")) as engine, pytest.raises(ValueError, match="tokens of text"):
        list(answers(engine, talk.messages(), max_new_tokens=100_000))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("the clip is empty"), "The clip is empty"),
        (Busy("64 wait"), "Too many questions are being answered. Try again in a moment."),
        (Stopped("closed"), "The server is stopping."),
    ],
)
def test_errors_become_sentences(error, sentence):
    with sentences() as said:
        raise error
    assert said == [sentence]


def test_errors_of_the_code_do_not():
    with pytest.raises(ZeroDivisionError), sentences():
        _ = 1 / 0
