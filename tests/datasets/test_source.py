"""What all datasets of clips share: decoding, questions cleaned up, and what is skipped."""

import pytest

from pal_plugin.audio.io import AudioError
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.datasets.source import ClipSource

ITEMS = [
    {"task": "classification", "question": " Which? ", "answer": "bell"},
    {"task": "qa", "question": "How many?", "answer": "1"},
]


def heard(audio):
    if audio is None:
        raise AudioError("cannot decode")
    return audio


def source(**settings):
    return ClipSource(heard, str.strip, **settings)


def test_a_clip_comes_with_its_questions_and_the_closed_set_of_those_that_have_one():
    clip = source(candidates=("bell", "rain")).clip([0.5], "a.wav", "a", ITEMS)
    assert (clip["audio"], clip["sample_id"]) == ([0.5], "a")
    assert [item["question"] for item in clip["items"]] == ["Which?", "How many?"]
    assert clip["items"][0]["candidates"] == ["bell", "rain"]
    assert "candidates" not in clip["items"][1]
    assert ITEMS[0]["question"] == " Which? "  # the annotations stay as they are


@pytest.mark.parametrize("settings", [{"train": True}, {"allow_missing": True}])
def test_what_cannot_be_decoded_is_skipped_where_that_is_allowed(settings):
    skipped = source(**settings).clip(None, "a.wav", "a", ITEMS)
    assert skipped == SkippedClip("a.wav", "cannot decode")
    assert source(**settings).collater([skipped])["skipped"] == ["a.wav (cannot decode)"]


def test_in_evaluation_it_is_an_error_that_names_the_clip():
    with pytest.raises(AudioError, match=r"a\.wav: cannot decode"):
        source().clip(None, "a.wav", "a", ITEMS)


def test_a_conversation_is_skipped_as_a_whole_and_names_the_clip():
    skipped = source(train=True).clip(([0.5], None), "row in shard", "a", ITEMS)
    assert skipped == SkippedClip("row in shard", "cannot decode")
    with pytest.raises(AudioError, match="row in shard: cannot decode"):
        source().clip(([0.5], None), "row in shard", "a", ITEMS)


def test_a_conversation_keeps_its_text_and_its_own_closed_set():
    item = {
        "task": "classification",
        "question": "[audio]  same?",
        "answer": "no",
        "messages": [],
        "candidates": ["yes", "no"],
    }
    clip = source(candidates=["bell"]).clip(([0.5], [1.5]), "x", "a", [item])
    assert clip["items"] == [item]
    assert clip["audio"] == [[0.5], [1.5]]
