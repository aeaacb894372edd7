"""Answers are derived a second time, here, from the events' numbers."""

from collections import Counter

import numpy as np

from pal_plugin.soundworld import LABELS, QUESTION_TYPES, items, render_stems, split_scene
from pal_plugin.soundworld.events import NAMES
from pal_plugin.soundworld.words import NUMERALS

COUNT = 1500
CASES = [
    (scene, items(scene, rng)) for scene, rng in (split_scene("val", 1, i) for i in range(COUNT))
]


def nouns(event):
    article, plural, *_ = NAMES[event.kind]
    return article.split(" ", 1)[-1], plural


def of_type(question_type):
    return [(s, i) for s, asked in CASES for i in asked if i["question_type"] == question_type]


def event_named(scene, text):
    """The event that a question's noun phrase names."""
    for event in scene.events:
        if nouns(event)[0] == text:
            return event
    raise AssertionError(f"{text!r} is not in {scene}")


def test_every_type_occurs_and_items_are_complete():
    seen = Counter(item["question_type"] for _, asked in CASES for item in asked)
    assert set(seen) == set(QUESTION_TYPES)
    assert min(seen.values()) > 0.08 * COUNT
    tasks = {"kind": "classification", "caption": "caption", "transcript": "transcript"}
    for _, asked in CASES:
        assert 4 <= len(asked) <= 15
        for item in asked:
            assert set(item) == {"task", "question_type", "question", "answer", "answers"}
            assert item["task"] == tasks.get(item["question_type"], "qa")
            assert item["answer"] == item["answers"][0] == item["answer"].lower()
            assert len(set(item["answers"])) == len(item["answers"])


def test_labels():
    found = Counter(item["answer"] for _, item in of_type("kind"))
    assert set(found) == set(LABELS)
    assert max(found.values()) < 0.1 * COUNT
    assert all(item["answer"] == scene.label for scene, item in of_type("kind"))


def test_present_is_true_and_balanced():
    answers = Counter()
    for scene, item in of_type("present"):
        named = next(k for k in LABELS if item["question"].endswith(f" {NAMES[k][0]}?"))
        here = named in {event.kind for event in scene.events}
        assert item["answer"] == ("yes" if here else "no")
        answers[item["answer"]] += 1
    assert answers["yes"] == answers["no"]


def test_counts():
    answers = Counter()
    for scene, item in of_type("count"):
        asked = item["question"].removeprefix("How many ").split(" are ")[0].split(" do ")[0]
        if asked.startswith("words"):
            event = event_named(scene, "voice")
            number = len(event.transcript.split())
        else:
            event = next(e for e in scene.events if NAMES[e.kind][1] == asked)
            number = len(event.as_dict()["sounds"])
        assert item["answers"] == [NUMERALS[number], str(number)]
        answers[item["answer"]] += 1
    assert max(answers.values()) < 0.4 * sum(answers.values())


def test_first_and_last():
    for which, pick in (("first", min), ("last", max)):
        for scene, item in of_type(which):
            onsets = {event.kind: event.onset_s for event in scene.events}
            answer = pick(onsets, key=onsets.get)
            assert item["answer"] == answer
            rest = [abs(t - onsets[answer]) for kind, t in onsets.items() if kind != answer]
            assert min(rest) >= 0.3


def test_higher_is_true_and_balanced():
    answers = Counter()
    for scene, item in of_type("higher"):
        words = item["question"].rstrip("?")
        if "second" in words:
            event = event_named(scene, words.split("second ")[1].split(" higher")[0])
            first, second = (sound.pitch_hz for sound in event.sounds)
        else:
            named = words.removeprefix("Is the ").split(" higher or lower than the ")
            second, first = (event_named(scene, name).pitch_hz for name in named)
        assert item["answer"] == ("higher" if second > first else "lower")
        assert max(first, second) >= 1.49 * min(first, second)
        answers[item["answer"]] += 1
    assert 0.4 < answers["higher"] / sum(answers.values()) < 0.6


def energy(wave, sounds):
    parts = [wave[round(s.onset_s * 16000) : round(s.offset_s * 16000)] for s in sounds]
    return np.square(np.concatenate(parts), dtype=float).mean()


def test_louder_is_true_of_the_rendered_energy():
    for scene, item in of_type("louder")[:60]:
        stems, _ = render_stems(scene)
        if "second" in item["question"]:
            i = next(i for i, event in enumerate(scene.events) if event.count == 2)
            first, second = (energy(stems[i], [sound]) for sound in scene.events[i].sounds)
            assert item["answer"] == ("louder" if second > first else "quieter")
        else:
            names = item["question"].rstrip("?").split(", the ")[1].split(" or the ")
            events = [event_named(scene, name) for name in names]
            a, b = (energy(stems[scene.events.index(e)], e.sounds) for e in events)
            assert item["answer"] == events[0 if a > b else 1].kind


def test_direction_and_transcript():
    directions = Counter()
    for scene, item in of_type("direction"):
        sound = event_named(scene, "sweep").sounds[0]
        assert item["answer"] == ("up" if sound.end_hz > sound.pitch_hz else "down")
        directions[item["answer"]] += 1
    assert 0.4 < directions["up"] / sum(directions.values()) < 0.6
    for scene, item in of_type("transcript"):
        words = event_named(scene, "voice").as_dict()["words"]
        assert item["answer"] == " ".join(word["word"] for word in words)
