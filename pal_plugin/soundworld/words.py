"""Scenes as text: noun phrases, captions and descriptions.

Words have fixed meanings: "low" and "high" are pitch ranges, "loud" and "quiet" are levels in a
scene of one kind and relative levels in a mixed one, "a" means one and a numeral means that many.
Captions mention what a listener would, descriptions everything that the scene's questions need.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from pal_plugin.soundworld.events import NAMES, Event, Scene
from pal_plugin.soundworld.scene import CLEAR_ONSET_S, COUNTABLE

NUMERALS = ["zero", "one", "two", "three", "four", "five"]
LOW_HZ, HIGH_HZ = 450.0, 1000.0
LOW_VOICE_HZ, HIGH_VOICE_HZ = 140.0, 160.0
LOUD_DB, QUIET_DB = -26.0, -34.0


def pitch_word(event: Event) -> str:
    """ "low", "high" or "" (in between, or a kind whose pitch is not characteristic)."""
    if event.kind == "speech":
        low_hz, high_hz = LOW_VOICE_HZ, HIGH_VOICE_HZ
    elif event.kind in ("tone", "bell", "melody"):
        low_hz, high_hz = LOW_HZ, HIGH_HZ
    else:
        return ""
    pitches = [sound.pitch_hz for sound in event.sounds]
    return "low" if max(pitches) < low_hz else "high" if min(pitches) > high_hz else ""


def loudness_word(scene: Scene, event: Event) -> str:
    """ "loud", "quiet" or "" (in between)."""
    if scene.layout != "alone":
        return "loud" if event.kind == scene.label else "quiet"
    levels = [sound.level_db for sound in event.sounds]
    return "loud" if min(levels) > LOUD_DB else "quiet" if max(levels) < QUIET_DB else ""


def pair_difference(event: Event) -> tuple[str, str] | None:
    """("pitch", "higher" | "lower") or ("level", "louder" | "quieter"): second versus first."""
    if event.count != 2:
        return None
    first, second = event.sounds
    if first.level_db != second.level_db:
        return "level", "louder" if second.level_db > first.level_db else "quieter"
    if first.pitch_hz and not 0.8 < second.pitch_hz / first.pitch_hz < 1.25:
        return "pitch", "higher" if second.pitch_hz > first.pitch_hz else "lower"
    return None


def phrase(
    scene: Scene,
    event: Event,
    *,
    loudness: bool = True,
    pitch: bool = True,
    words: bool = True,
    verb: bool = False,
    article: bool = True,
) -> str:
    """Describes one event, for example 'three quiet low bells' or 'a voice saying "two red"'.

    Always includes count, direction and the difference within a pair; the flags add loudness,
    pitch, the spoken words, a verb ("three bells ring"), the article of a single event.
    """
    singular, plural = NAMES[event.kind][:2]
    many = event.kind in COUNTABLE and event.count > 1
    head = plural if many else singular.split(" ", 1)[-1]
    parts = [loudness_word(scene, event)] if loudness else []
    parts += [pitch_word(event)] if pitch else []
    text = " ".join([part for part in parts if part] + [head])
    if many:
        text = f"{NUMERALS[event.count]} {text}"
    elif article and singular != head:
        text = f"{'an' if text[0] in 'aeiou' else 'a'} {text}"

    if event.kind == "speech" and words:
        return f'{text} {"says" if verb else "saying"} "{event.transcript}"'
    if event.kind == "sweep":
        going = "going" if not verb else "go" if many else "goes"
        text = f"{text} {going} {event.direction}"
    elif verb:
        text = f"{text} {NAMES[event.kind][3 if many else 2]}"
    difference = pair_difference(event)
    return f"{text}, the second {difference[1]}" if difference else text


def relation(before: Event, after: Event) -> str:
    """How an event relates to the one before: "after", "over" or "with"."""
    if after.onset_s - before.onset_s < CLEAR_ONSET_S:
        return "with"
    return "after" if after.onset_s >= before.offset_s else "over"


# Conjunctions between noun phrases and between clauses.
JOINS = {
    "after": (", then ", " followed by ", ", and then "),
    "over": (", joined by ", ", then on top ", ", overlapped by "),
    "with": (" together with ", " with ", " and at the same time "),
}
CLAUSE_JOINS = {
    "after": (", then ", " and then ", " before "),
    "over": (", and during it ", ", and then over it "),
    "with": (" while ", " and at the same time "),
}


def _joined(rng: Random, scene: Scene, parts: list[str], joins: dict) -> str:
    text = parts[0]
    for i, part in enumerate(parts[1:], 1):
        text += rng.choice(joins[relation(scene.events[i - 1], scene.events[i])]) + part
    ordered = len(parts) > 1 and relation(scene.events[0], scene.events[1]) != "with"
    return f"first {text}" if ordered and rng.random() < 0.2 else text


def captions(scene: Scene, rng: Random, count: int = 3) -> list[str]:
    """Up to `count` distinct captions: kinds, order, often pitch and level; never spoken words."""
    out: list[str] = []
    for _ in range(count):
        flags = {"loudness": rng.random() < 0.6, "pitch": rng.random() < 0.7, "words": False}
        verb = rng.random() < 0.5
        parts = [phrase(scene, event, verb=verb, **flags) for event in scene.events]
        text = _joined(rng, scene, parts, CLAUSE_JOINS if verb else JOINS)
        if text not in out:
            out.append(text)
    return out


def noun(kind: str) -> str:
    """The kind's name after "the": "bell", "voice" for speech."""
    return NAMES[kind][0].split(" ", 1)[-1]


def describe(
    scene: Scene, rng: Random, needed: Collection[str] = (), compared: tuple[Event, ...] = ()
) -> str:
    """A full description of the scene, terse or verbose.

    Args:
        needed: question types that must be answerable from the text; other properties are only
            included sometimes. Kinds, order, counts and directions always are.
        compared: two events whose pitches a question compares; their relation is included.
    """
    loudness = {"caption", "louder"} | ({"kind"} if scene.layout != "alone" else set())
    flags = {
        "loudness": not loudness.isdisjoint(needed) or rng.random() < 0.6,
        "pitch": "caption" in needed or rng.random() < 0.75,
        "words": not {"transcript", "count"}.isdisjoint(needed) or rng.random() < 0.7,
    }
    style = rng.randrange(4)
    verb = style == 1
    parts = [phrase(scene, event, verb=verb, article=style != 2, **flags) for event in scene.events]
    if style == 3:
        pairs = zip(parts, scene.events, strict=True)
        parts = [f"{part} at {event.onset_s:.1f} seconds" for part, event in pairs]
    text = _joined(rng, scene, parts, CLAUSE_JOINS if verb else JOINS)
    if compared:
        first, second = compared
        word = "higher" if first.pitch_hz > second.pitch_hz else "lower"
        text = f"{text}. the {noun(first.kind)} is {word} than the {noun(second.kind)}"
    opening = rng.choice(("", "", "", "you hear " if not verb else "", "sounds: ", "audio: "))
    return f"{opening}{text}."
