"""Draws random scenes: what sounds when, its pitch and level.

Does not render and only uses `random.Random`, because the LLM's text corpus draws scenes by the
hundred thousand. A scene has one kind alone, or two or three kinds of which one is *dominant*: at
least 6 dB louder than every other and at least as long; its kind is the label.
"""

from __future__ import annotations

from itertools import combinations
from math import exp, log
from random import Random
from typing import NamedTuple

from pal_plugin.soundworld.events import LABELS, Event, Scene, Sound, Speaker, Word
from pal_plugin.soundworld.speech import WORDS, word_seconds

MAX_SECONDS = 5.0
MIN_SECONDS = 1.5
DOMINANCE_DB = 6.0
CLEAR_PITCH_RATIO = 1.5  # minimum ratio of pitches called higher and lower
CLEAR_ONSET_S = 0.3  # minimum distance of onsets called first and second

COUNTABLE = frozenset(["tone", "sweep", "bell", "noise burst", "drip"])
PITCH_COMPARED = frozenset(["tone", "bell", "drip", "melody"])


class Spec(NamedTuple):
    """Range of the duration of one sound in seconds, and of its pitch."""

    min_s: float
    max_s: float
    pitch_hz: tuple[float, float] | None


SPECS = {
    "tone": Spec(0.15, 1.3, (180.0, 2600.0)),
    "sweep": Spec(0.35, 1.6, (150.0, 1200.0)),
    "bell": Spec(0.4, 1.8, (220.0, 2200.0)),
    "noise burst": Spec(0.1, 0.45, None),
    "engine": Spec(0.6, 4.0, (28.0, 90.0)),
    "drip": Spec(0.08, 0.2, (450.0, 1800.0)),
    "siren": Spec(1.0, 4.0, (450.0, 1200.0)),
    "rhythm": Spec(0.9, 4.0, None),
    "speech": Spec(0.2, 3.0, None),
    "melody": Spec(0.6, 3.5, (220.0, 1600.0)),
    "bird": Spec(0.4, 3.5, (2300.0, 5500.0)),
    "rain": Spec(0.8, 4.5, None),
}

# One range for all kinds, low enough for drum peaks; the level must not reveal the kind.
MIN_LEVEL_DB, MAX_LEVEL_DB = -40.0, -20.0

MIN_GAP_S = 0.12
COUNT_ALONE = ((1, 2, 3, 4, 5), (12, 34, 18, 18, 18))
COUNT_MIXED = ((1, 2, 3, 4), (50, 10, 25, 15))


def _loguniform(rng: Random, low: float, high: float) -> float:
    return exp(rng.uniform(log(low), log(high)))


def _ms(seconds: float) -> float:
    return round(seconds, 3)


def _speech(rng: Random, min_s: float, max_s: float, level_db: float) -> Event:
    """One to four words by one voice."""
    high = rng.random() < 0.5
    f0_hz = rng.uniform(165.0, 250.0) if high else rng.uniform(80.0, 135.0)
    tract = rng.uniform(1.05, 1.22) if high else rng.uniform(0.9, 1.06)
    speaker = Speaker(round(f0_hz, 1), round(tract, 3), round(rng.uniform(0.85, 1.25), 3))
    wanted = rng.randint(1, 4)
    words: list[Word] = []
    end_s = 0.0
    while len(words) < wanted or end_s < min_s:
        text = rng.choice(WORDS)
        length_s = word_seconds(text, speaker.rate)
        begin_s = _ms(end_s + rng.uniform(0.06, 0.2)) if words else 0.0
        if words and (begin_s + length_s > max_s or len(words) == 4):
            break
        words.append(Word(text, begin_s, length_s))
        end_s = _ms(begin_s + length_s)
    sound = Sound(0.0, end_s, level_db, speaker.f0_hz)
    return Event("speech", (sound,), tuple(words), speaker)


def _repeats(
    rng: Random, spec: Spec, min_s: float, max_s: float, alone: bool
) -> tuple[list[float], float]:
    """Onsets of equal sounds and their duration; total length between min_s and max_s."""
    counts, weights = COUNT_ALONE if alone else COUNT_MIXED
    count = rng.choices(counts, weights)[0]
    while count > 1 and count * spec.min_s + (count - 1) * MIN_GAP_S > max_s:
        count -= 1
    if count == 1 and spec.max_s < min_s:
        count = 2
    room_s = (max_s - (count - 1) * MIN_GAP_S) / count
    length_s = _ms(min(_loguniform(rng, spec.min_s, spec.max_s), room_s))
    if count == 1:
        return [0.0], _ms(max(length_s, min(min_s, spec.max_s)))
    widest_s = min(0.7, (max_s - count * length_s) / (count - 1))
    needed_s = (min_s - count * length_s) / (count - 1)
    gap_s = max(rng.uniform(MIN_GAP_S, max(widest_s, MIN_GAP_S)), needed_s)
    slack_s = min(gap_s - MIN_GAP_S, widest_s - gap_s) * rng.choice((0.0, 0.9))
    onsets = [0.0]
    for i in range(1, count):
        uneven_s = rng.uniform(-slack_s, slack_s) if slack_s > 0.0 and i < count - 1 else 0.0
        onsets.append(_ms(i * (length_s + gap_s) + uneven_s / 2))
    return onsets, length_s


def _countable(
    rng: Random, kind: str, min_s: float, max_s: float, level_db: float, alone: bool
) -> Event:
    """One to five equal sounds; a pair alone may clearly differ in pitch or level."""
    spec = SPECS[kind]
    onsets, length_s = _repeats(rng, spec, min_s, max_s, alone)
    pitches: list[float | None] = [None] * len(onsets)
    levels = [level_db] * len(onsets)
    end_ratio = None
    if spec.pitch_hz is not None:
        pitch_hz = _loguniform(rng, *spec.pitch_hz)
        pitches = [round(pitch_hz, 1)] * len(onsets)
        if kind == "drip":
            pitches = [round(pitch_hz * rng.uniform(0.96, 1.04), 1) for _ in onsets]
    if kind == "sweep":
        end_ratio = rng.uniform(2.0, 5.0)
        if rng.random() < 0.5:
            pitches = [round(p * end_ratio, 1) for p in pitches]
            end_ratio = 1.0 / end_ratio
    pair = len(onsets) == 2 and alone
    if pair and kind in PITCH_COMPARED and rng.random() < 0.6:
        low, high = spec.pitch_hz
        ratio = rng.uniform(CLEAR_PITCH_RATIO + 0.1, 2.6)
        low_hz = _loguniform(rng, low, high / ratio)
        pitches = [round(low_hz, 1), round(low_hz * ratio, 1)]
        if rng.random() < 0.5:
            pitches.reverse()
    elif pair and rng.random() < 0.7:
        levels[rng.randrange(2)] -= round(rng.uniform(8.0, 14.0), 1)
    ends = [None if end_ratio is None else round(pitch * end_ratio, 1) for pitch in pitches]
    columns = zip(onsets, levels, pitches, ends, strict=True)
    sounds = (Sound(at_s, length_s, round(db, 1), *hz) for at_s, db, *hz in columns)
    return Event(kind, tuple(sounds))


def _event(
    rng: Random, kind: str, min_s: float, max_s: float, level_db: float, alone: bool = False
) -> Event:
    """An event of a kind, starting at 0, at most max_s long (at least min_s where possible)."""
    spec = SPECS[kind]
    level_db = round(level_db, 1)
    if kind == "speech":
        return _speech(rng, min_s, max_s, level_db)
    if kind in COUNTABLE:
        return _countable(rng, kind, min_s, max_s, level_db, alone)
    low_s = max(spec.min_s, min_s)
    length_s = _ms(rng.uniform(low_s, max(low_s, min(spec.max_s, max_s))))
    pitch_hz = round(_loguniform(rng, *spec.pitch_hz), 1) if spec.pitch_hz else None
    return Event(kind, (Sound(0.0, length_s, level_db, pitch_hz),))


def _moved(event: Event, by_s: float) -> Event:
    sounds = tuple(
        Sound(_ms(s.onset_s + by_s), s.duration_s, s.level_db, s.pitch_hz, s.end_hz)
        for s in event.sounds
    )
    words = tuple(Word(w.word, _ms(w.onset_s + by_s), w.duration_s) for w in event.words)
    return Event(event.kind, sounds, words, event.speaker)


def _companions(rng: Random, label: str, count: int) -> list[str]:
    """Other kinds for a mixed scene; favours pitched ones, so that pitches can be compared."""
    others = [kind for kind in LABELS if kind != label]
    if label in PITCH_COMPARED and rng.random() < 0.5:
        first = rng.choice([kind for kind in others if kind in PITCH_COMPARED])
        rest = rng.sample([kind for kind in others if kind != first], count - 1)
        return [first, *rest]
    return rng.sample(others, count)


def apart_in_pitch(a: Event, b: Event) -> bool:
    """Whether one is clearly higher than the other."""
    return max(a.pitch_hz, b.pitch_hz) >= CLEAR_PITCH_RATIO * min(a.pitch_hz, b.pitch_hz)


def _clearly_differ(events: list[Event]) -> bool:
    """Whether all pitches to compare are clearly apart, so that "higher" is unambiguous."""
    pitched = [event for event in events if event.kind in PITCH_COMPARED]
    return all(apart_in_pitch(a, b) for a, b in combinations(pitched, 2))


def _mixed(rng: Random, label: str) -> tuple[list[Event], str, float]:
    """Events placed in time, the layout, and the end of the last event in seconds."""
    count = 2 if rng.random() < 0.6 else 3
    longest_s = 2.1 if count == 2 else 1.45
    kinds = _companions(rng, label, count - 1)
    level_db = rng.uniform(MIN_LEVEL_DB + 6.0, MAX_LEVEL_DB)
    for _ in range(8):
        dominant = _event(rng, label, 0.9, longest_s, level_db)
        loudest_db = dominant.level_db
        events = [dominant]
        for kind in kinds:
            quieter_db = loudest_db - rng.uniform(DOMINANCE_DB + 0.1, 11.0)
            events.append(_event(rng, kind, 0.3, dominant.duration_s, quieter_db))
        short_enough = all(e.duration_s <= dominant.duration_s for e in events)
        if short_enough and _clearly_differ(events):
            break
    else:
        return _mixed(rng, label)

    rng.shuffle(events)
    layout = "sequence" if rng.random() < 0.5 else "overlap"
    if {"rain", "noise burst"} <= {label, *kinds}:
        layout = "sequence"  # noise masked by noise is inaudible
    now_s = rng.uniform(0.05, 0.25)
    placed, end_s = [], 0.0
    for event in events:
        placed.append(_moved(event, _ms(now_s)))
        end_s = max(end_s, placed[-1].offset_s)
        if layout == "sequence":
            now_s = end_s + rng.uniform(0.03, 0.15)
        elif rng.random() < 0.8:
            now_s += max(CLEAR_ONSET_S + 0.05, rng.uniform(0.2, 0.7) * event.duration_s)
    return sorted(placed, key=lambda e: e.onset_s), layout, end_s


def sample_scene(rng: Random, label: str | None = None) -> Scene:
    """A random scene of 1.5 to 5 s; `label` fixes the dominant kind (default: uniform).

    Raises:
        TypeError: if rng is not a `random.Random` (whose scalar draws are 20 times faster than
            NumPy's, which the text corpus needs).
        ValueError: if the label is not one of `LABELS`.
    """
    if not isinstance(rng, Random):
        raise TypeError(f"sample_scene expects a random.Random, got {type(rng).__name__}")
    if label is None:
        label = rng.choice(LABELS)
    elif label not in LABELS:
        raise ValueError(f"unknown kind {label!r}; known: {', '.join(LABELS)}")
    while True:
        if rng.random() < 0.5:
            level_db = rng.uniform(MIN_LEVEL_DB, MAX_LEVEL_DB)
            event = _event(rng, label, 0.0, rng.uniform(1.2, 4.4), level_db, alone=True)
            events, layout = [_moved(event, _ms(rng.uniform(0.05, 0.5)))], "alone"
            end_s = events[0].offset_s
        else:
            events, layout, end_s = _mixed(rng, label)
        if end_s <= MAX_SECONDS - 0.05:
            break
    seconds = min(max(end_s + rng.uniform(0.05, 0.6), MIN_SECONDS), MAX_SECONDS)
    loudest_db = max(e.level_db for e in events)
    noise_db = round(loudest_db - rng.uniform(24.0, 50.0), 1)
    seconds = min(round(seconds + 0.05, 1), MAX_SECONDS)
    return Scene(seconds, label, tuple(events), layout, noise_db, rng.getrandbits(63))
