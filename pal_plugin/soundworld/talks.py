"""Conversations about several scenes: which of two, the same or not, a follow-up, examples first.

Answers are dealt in balanced packs and scenes are drawn afterwards, so that neither the question
nor the earlier turns say anything about the answer (`tests/soundworld/test_talks.py`).
"""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Any

from pal_plugin.soundworld.events import LABELS, Scene
from pal_plugin.soundworld.questions import accepted_names
from pal_plugin.soundworld.scene import sample_scene
from pal_plugin.soundworld.seeds import SPLITS, dealt, scene_rng
from pal_plugin.soundworld.words import noun

#: `which` of two clips has a sound; whether two are the `same`; `which`, then what the `other` one
#: is; two clips with their labels as examples (`shots`), then one to label.
TALK_TYPES = ["which", "same", "other", "shots"]
PLACES = ["first", "second"]
SAME = ["yes", "no"]

WHICH_QUESTIONS = (
    "Which of the two has the {noun}?",
    "Which one has the {noun}, the first or the second?",
    "In which of the two is the {noun}?",
)
SAME_QUESTIONS = (
    "Are they the same?",
    "Do both have the same main sound?",
    "Is it the same main sound in both?",
)
OTHER_QUESTIONS = (
    "What is the main sound of the other one?",
    "And the other one, what is its main sound?",
    "Name the main sound of the other one.",
)


def split_talk(split: str, seed: int, index: int) -> tuple[list[Scene], dict[str, Any]]:
    """Conversation `index` of a split: its scenes, and an item whose clips are their numbers.

    Types take turns. Scenes have streams of their own: none is in a split of single scenes.

    Raises:
        ValueError: for an unknown split or a negative index.
    """
    if split not in SPLITS or index < 0:
        raise ValueError(f"expected a split of {SPLITS} and an index >= 0, got {split!r}, {index}")
    number, turn = divmod(index, len(TALK_TYPES))
    kind = TALK_TYPES[turn]
    stream = f"talks_{split}"
    pairs = list(product(LABELS, range(2)))
    sound, place = dealt(pairs, stream, seed, number, turn)
    return _TALKS[kind](scene_rng(stream, seed, index), sound, place)


def _which(rng: Random, sound: str, place: int) -> tuple[list[Scene], dict]:
    scenes = [sample_scene(rng, sound), _without(rng, sound, rng.choice(_others(sound)))]
    question = rng.choice(WHICH_QUESTIONS).format(noun=noun(sound))
    messages = [_about_two(rng, question), _says(PLACES[place])]
    return _placed(scenes, place), _item("which", messages, _forms(place), PLACES)


def _same(rng: Random, sound: str, place: int) -> tuple[list[Scene], dict]:
    second = sound if place == 0 else rng.choice(_others(sound))
    scenes = [sample_scene(rng, sound), sample_scene(rng, second)]
    messages = [_about_two(rng, rng.choice(SAME_QUESTIONS)), _says(SAME[place])]
    return scenes, _item("same", messages, [SAME[place]], SAME)


def _other(rng: Random, sound: str, place: int) -> tuple[list[Scene], dict]:
    """`sound` is that of the other one."""
    asked = rng.choice(_others(sound))
    scenes = [sample_scene(rng, asked), _without(rng, asked, sound)]
    question = rng.choice(WHICH_QUESTIONS).format(noun=noun(asked))
    messages = [
        _about_two(rng, question),
        _says(PLACES[place]),
        {"role": "user", "content": rng.choice(OTHER_QUESTIONS)},
        _says(sound),
    ]
    return _placed(scenes, place), _item("other", messages, accepted_names(sound), LABELS)


def _shots(rng: Random, sound: str, place: int) -> tuple[list[Scene], dict]:
    """`sound` is that of the last clip, and independent of the examples."""
    kinds = [*rng.sample(LABELS, 2), sound]
    messages = []
    for number, kind in enumerate(kinds):
        messages += [{"role": "user", "content": [_audio(number)]}, _says(kind)]
    scenes = [sample_scene(rng, kind) for kind in kinds]
    return scenes, _item("shots", messages, accepted_names(sound), LABELS)


_TALKS = {"which": _which, "same": _same, "other": _other, "shots": _shots}


def _others(sound: str) -> list[str]:
    return [label for label in LABELS if label != sound]


def _without(rng: Random, sound: str, label: str) -> Scene:
    """A scene of `label` in which nothing is a `sound`."""
    while True:
        scene = sample_scene(rng, label)
        if all(event.kind != sound for event in scene.events):
            return scene


def _placed(scenes: list[Scene], place: int) -> list[Scene]:
    """The two scenes, the first of them at `place`."""
    return scenes if place == 0 else scenes[::-1]


def _forms(place: int) -> list[str]:
    return [PLACES[place], f"the {PLACES[place]}", f"the {PLACES[place]} one"]


def _about_two(rng: Random, question: str) -> dict[str, Any]:
    """A question behind two clips, which half of the time are announced."""
    text = {"type": "text", "text": question}
    if rng.random() < 0.5:
        return {"role": "user", "content": [_audio(0), _audio(1), text]}
    first, second = ({"type": "text", "text": name} for name in ("First: ", " Second: "))
    text = {"type": "text", "text": f" {question}"}
    return {"role": "user", "content": [first, _audio(0), second, _audio(1), text]}


def _audio(number: int) -> dict[str, Any]:
    return {"type": "audio", "audio": number}


def _says(answer: str) -> dict[str, Any]:
    return {"role": "assistant", "content": answer}


def _item(kind: str, messages: list[dict], answers: list[str], candidates: list[str]) -> dict:
    return {
        "task": "classification",
        "question_type": kind,
        "messages": messages,
        "answers": answers,
        "candidates": candidates,
    }
