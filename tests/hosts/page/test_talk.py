"""A conversation: what the model is asked, and what is refused."""

import numpy as np
import pytest

from pal_plugin.hosts.page.clips import PageClip
from pal_plugin.hosts.page.talk import Talk, labels_of

DOG, RAIN = (PageClip(name, np.zeros(8, np.float32), 8) for name in ("dog", "rain"))


def said(messages):
    """Roles and contents, with the clips by name."""
    names = {id(clip.samples): clip.name for clip in (DOG, RAIN)}
    return [
        (m["role"], m["content"])
        if isinstance(m["content"], str)
        else (
            m["role"],
            [names[id(p["audio"][0])] if "audio" in p else p["text"] for p in m["content"]],
        )
        for m in messages
    ]


def test_a_clip_joins_with_the_question_after_it_and_once():
    talk = Talk().asking(" What is it? ", DOG).with_last(heard="a dog", masked="rain")
    talk = talk.asking("Sure?", DOG).with_last(heard="yes")
    talk = talk.asking("And this?", RAIN)
    assert said(talk.messages()) == [
        ("user", ["dog", "What is it?"]),
        ("assistant", "a dog"),
        ("user", ["Sure?"]),
        ("assistant", "yes"),
        ("user", ["rain", "And this?"]),
    ]
    assert said(talk.alone()) == [("user", ["dog", "rain", "And this?"])]
    assert talk.clips == (DOG, RAIN)


def test_a_question_without_answer_is_no_part_of_what_follows():
    failed = Talk().asking("What is it?", DOG).with_last(problem="The server is stopping.")
    assert said(failed.asking("Again?", DOG).messages()) == [("user", ["dog", "Again?"])]
    assert len(failed.turns) == 1
    assert not failed.answered.turns


def test_what_cannot_be_asked_is_a_sentence():
    with pytest.raises(ValueError, match="There is no clip yet"):
        Talk().asking("What is it?", None)
    with pytest.raises(ValueError, match="The question is empty"):
        Talk().asking("  ", DOG)


def test_labels_have_commas_in_between():
    assert labels_of(" dog, crying baby ,rain,") == ["dog", "crying baby", "rain"]
    with pytest.raises(ValueError, match="at least two labels"):
        labels_of("dog")
    with pytest.raises(ValueError, match="twice: rain"):
        labels_of("rain, dog, rain")
