"""Questions about a scene and their correct answers.

Every answer follows from the events, so everything asked is audible. An item is a dictionary: task,
question_type, question, answer, answers (accepted forms, `answer` first).
"""

from __future__ import annotations

from itertools import combinations
from random import Random

from pal_plugin.soundworld.events import LABELS, NAMES, Event, Scene
from pal_plugin.soundworld.scene import (
    CLEAR_ONSET_S,
    COUNTABLE,
    DOMINANCE_DB,
    PITCH_COMPARED,
    apart_in_pitch,
)
from pal_plugin.soundworld.words import NUMERALS, captions, noun, pair_difference

QUESTION_TYPES = [
    "kind",
    "caption",
    "present",
    "count",
    "first",
    "last",
    "higher",
    "louder",
    "transcript",
    "direction",
]

KIND_QUESTIONS = (
    "What do you hear?",
    "What is the main sound?",
    "Which sound is this?",
    "What makes this sound?",
    "Name the main sound.",
    "Classify the sound.",
)
CAPTION_QUESTIONS = (
    "Describe the audio.",
    "Write a caption for the audio.",
    "What happens in this clip?",
    "Describe what you hear.",
)
TRANSCRIPT_QUESTIONS = (
    "What is said?",
    "What does the voice say?",
    "Which words are spoken?",
    "Write down the words.",
)
ORDER_QUESTIONS = {
    "first": ("Which sound comes first?", "Which sound starts first?"),
    "last": ("Which sound starts last?", "Which is the last sound to start?"),
}
OTHER_NAMES = {
    "tone": ("beep", "beeps"),
    "noise burst": ("noise", "burst"),
    "drip": ("drop", "drops"),
    "rhythm": ("drums", "a drum"),
    "speech": ("a voice", "voice", "someone speaking"),
    "bird": ("birdsong",),
}


def accepted_names(kind: str) -> list[str]:
    """Accepted forms of a kind's name; the label comes first."""
    article, plural, *_ = NAMES[kind]
    return list(dict.fromkeys([kind, article, plural, *OTHER_NAMES.get(kind, ())]))


def _item(question_type: str, question: str, answers: list[str]) -> dict:
    task = {"kind": "classification", "caption": "caption", "transcript": "transcript"}
    return {
        "task": task.get(question_type, "qa"),
        "question_type": question_type,
        "question": question,
        "answer": answers[0],
        "answers": answers,
    }


def _present(rng: Random, scene: Scene) -> list[dict]:
    """One question about a kind that is present and one about a kind that is absent."""
    here = [event.kind for event in scene.events]
    absent = rng.choice([kind for kind in LABELS if kind not in here])
    out = []
    for kind, answer in ((rng.choice(here), "yes"), (absent, "no")):
        name = NAMES[kind][0]
        question = rng.choice(
            (f"Is there {name}?", f"Do you hear {name}?", f"Can you hear {name}?")
        )
        out.append(_item("present", question, [answer]))
    rng.shuffle(out)  # so that taking only the first question keeps the answers balanced
    return out


def _count(rng: Random, event: Event) -> dict:
    if event.kind == "speech":
        number = len(event.words)
        question = rng.choice(("How many words are said?", "How many words do you hear?"))
    else:
        number = event.count
        plural = NAMES[event.kind][1]
        question = rng.choice((f"How many {plural} are there?", f"How many {plural} do you hear?"))
    return _item("count", question, [NUMERALS[number], str(number)])


def _order(rng: Random, scene: Scene) -> list[dict]:
    """First and last, if the onsets are clearly separated."""
    events, out = scene.events, []
    if len(events) < 2:
        return out
    pair = [noun(event.kind) for event in events]
    rng.shuffle(pair)
    named = f", the {pair[0]} or the {pair[1]}?" if len(pair) == 2 else ""
    for place, event, (before, after) in (
        ("first", events[0], events[:2]),
        ("last", events[-1], events[-2:]),
    ):
        if after.onset_s - before.onset_s >= CLEAR_ONSET_S:
            question = rng.choice(ORDER_QUESTIONS[place])
            if named and rng.random() < 0.5:
                question = f"Which starts {place}{named}"
            out.append(_item(place, question, accepted_names(event.kind)))
    return out


def _within_pair(event: Event) -> list[dict]:
    difference = pair_difference(event)
    if difference is None:
        return []
    what, answer = difference
    kind, either = {"pitch": ("higher", "lower"), "level": ("louder", "quieter")}[what]
    question = f"Is the second {noun(event.kind)} {kind} or {either} than the first?"
    return [_item(kind, question, [answer])]


def compared_events(scene: Scene) -> tuple[Event, ...]:
    """Two events of a mixed scene with clearly different pitches, or ()."""
    pitched = [event for event in scene.events if event.kind in PITCH_COMPARED]
    return next((pair for pair in combinations(pitched, 2) if apart_in_pitch(*pair)), ())


def _across(rng: Random, scene: Scene) -> list[dict]:
    """Comparisons of two kinds in a mixed scene."""
    if len(scene.events) < 2:
        return []
    out = []
    pair = list(compared_events(scene))
    if pair:
        rng.shuffle(pair)
        a, b = pair
        question = f"Is the {noun(a.kind)} higher or lower than the {noun(b.kind)}?"
        out.append(_item("higher", question, ["higher" if a.pitch_hz > b.pitch_hz else "lower"]))
    louder = next(event for event in scene.events if event.kind == scene.label)
    quieter = rng.choice([event for event in scene.events if event is not louder])
    if louder.level_db - quieter.level_db >= DOMINANCE_DB:
        names = [noun(louder.kind), noun(quieter.kind)]
        rng.shuffle(names)
        question = f"Which is louder, the {names[0]} or the {names[1]}?"
        out.append(_item("louder", question, accepted_names(louder.kind)))
    return out


def items(scene: Scene, rng: Random) -> list[dict]:
    """All questions about a scene with their answers, 6 to 12."""
    out = [_item("kind", rng.choice(KIND_QUESTIONS), accepted_names(scene.label))]
    texts = captions(scene, rng)
    for text, question in zip(texts, rng.sample(CAPTION_QUESTIONS, len(texts)), strict=True):
        out.append(_item("caption", question, [text, *[t for t in texts if t != text]]))
    out += _present(rng, scene)
    out += _order(rng, scene)
    out += _across(rng, scene)
    for event in scene.events:
        out += _within_pair(event)
        if event.kind in COUNTABLE or event.kind == "speech":
            out.append(_count(rng, event))
        if event.direction:
            question = rng.choice(
                ("Does the sweep go up or down?", "Does the pitch of the sweep go up or down?")
            )
            out.append(_item("direction", question, [event.direction]))
        if event.transcript:
            question = rng.choice(TRANSCRIPT_QUESTIONS)
            out.append(_item("transcript", question, [event.transcript]))
    return out
