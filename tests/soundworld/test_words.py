"""Scenes in words: a word means the same thing everywhere."""

from random import Random

import pytest

from pal_plugin.soundworld import captions
from pal_plugin.soundworld.events import NAMES, Event, Scene, Sound
from pal_plugin.soundworld.words import loudness_word, pair_difference, phrase, pitch_word, relation

from .test_questions import CASES, nouns


def test_captions_name_every_kind_and_vary():
    several = 0
    for scene, _ in CASES[:300]:
        texts = captions(scene, Random(0))
        several += len(texts) > 1
        for text in texts:
            for event in scene.events:
                assert (
                    NAMES[event.kind][0].split(" ", 1)[-1] in text or NAMES[event.kind][1] in text
                )
            assert '"' not in text
    assert several > 250


def test_a_caption_of_a_scene_in_sequence_keeps_its_order():
    for scene, asked in CASES:
        if scene.layout != "sequence" or scene.label == "speech":
            continue
        for item in asked:
            if item["question_type"] == "caption":
                text = item["answer"]
                places = [
                    min(text.find(noun) for noun in nouns(event) if noun in text)
                    for event in scene.events
                ]
                assert places == sorted(places)


def event(kind, *sounds):
    return Event(kind, tuple(Sound(*sound) for sound in sounds))


def alone(one):
    return Scene(4.0, one.kind, (one,), "alone", -60.0, 0)


def test_low_and_high_are_fixed_ranges():
    assert pitch_word(event("bell", (0.0, 1.0, -30.0, 300.0))) == "low"
    assert pitch_word(event("bell", (0.0, 1.0, -30.0, 700.0))) == ""
    assert pitch_word(event("bell", (0.0, 1.0, -30.0, 1500.0))) == "high"
    assert pitch_word(event("speech", (0.0, 1.0, -30.0, 170.0))) == "high"
    assert pitch_word(event("rain", (0.0, 1.0, -30.0))) == ""


def test_loud_is_a_level_where_a_kind_is_alone_and_a_comparison_elsewhere():
    loud, quiet = event("bell", (0.0, 1.0, -20.0, 700.0)), event("drip", (2.0, 0.1, -40.0, 700.0))
    assert [loudness_word(alone(e), e) for e in (loud, quiet)] == ["loud", "quiet"]
    mixed = Scene(4.0, "drip", (loud, quiet), "sequence", -60.0, 0)
    assert [loudness_word(mixed, e) for e in (loud, quiet)] == ["quiet", "loud"]


def test_a_pair_differs_in_level_or_in_pitch():
    second = ("bell", (0.0, 0.5, -30.0, 400.0), (1.0, 0.5, -24.0, 400.0))
    assert pair_difference(event(*second)) == ("level", "louder")
    lower = event("bell", (0.0, 0.5, -30.0, 400.0), (1.0, 0.5, -30.0, 300.0))
    assert pair_difference(lower) == ("pitch", "lower")
    assert pair_difference(event("bell", (0.0, 0.5, -30.0, 400.0))) is None
    assert phrase(alone(lower), lower) == "two low bells, the second lower"


def test_phrases_tell_what_they_are_asked_to():
    siren = event("engine", (0.0, 1.0, -20.0, 50.0))
    assert phrase(alone(siren), siren) == "a loud engine"
    assert phrase(alone(siren), siren, loudness=False) == "an engine"
    assert phrase(alone(siren), siren, verb=True, article=False) == "loud engine runs"
    with pytest.raises(KeyError, match="horn"):
        phrase(alone(siren), event("horn", (0.0, 1.0, -20.0)))


def test_onsets_say_how_events_follow_each_other():
    first = event("bell", (0.0, 1.0, -30.0, 400.0))
    onsets = {"with": 0.1, "over": 0.5, "after": 1.0}
    for word, onset_s in onsets.items():
        assert relation(first, event("drip", (onset_s, 0.2, -30.0, 400.0))) == word
