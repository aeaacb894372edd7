"""Draws musical phrases: the instruments, their ranges, and notes within them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Instrument:
    """A General MIDI instrument.

    Attributes:
        programs: program numbers, counted from 0; a clip uses one.
        lowest, highest: range of MIDI keys.
        held: whether notes are sustained (blown or bowed).
    """

    programs: tuple[int, ...]
    lowest: int
    highest: int
    held: bool = True


@dataclass(frozen=True, slots=True)
class Note:
    """A MIDI key; times in seconds, `velocity` from 1 to 127."""

    onset_s: float
    seconds: float
    key: int
    velocity: int


@dataclass(frozen=True, slots=True)
class Phrase:
    """Notes in order of onset; `program` is None for the drum kit."""

    program: int | None
    notes: tuple[Note, ...]
    held: bool


INSTRUMENTS = {
    "acoustic guitar": Instrument((24, 25), 40, 80, held=False),
    "cello": Instrument((42,), 36, 72),
    "clarinet": Instrument((71,), 50, 88),
    "double bass": Instrument((32, 43), 28, 57),
    "flute": Instrument((73,), 60, 94),
    "saxophone": Instrument((64, 65, 66, 67), 46, 82),
    "violin or fiddle": Instrument((40, 110), 55, 95),
}
#: Keys of the drum kit; a clip uses one.
DRUMS = {"bass drum": (35, 36), "hi hat": (42, 44, 46), "snare drum": (38, 40)}
LABELS = sorted([*INSTRUMENTS, *DRUMS])

_MAJOR = (0, 2, 4, 5, 7, 9, 11, 12)
#: A strummed chord, in semitones above its root.
_CHORD = (0, 7, 12, 16, 19, 24)


def draw_phrase(rng: np.random.Generator, label: str) -> Phrase:
    """One note, a scale, a random walk, strummed chords or a few strokes, at most nine seconds."""
    if label in DRUMS:
        return _strokes(rng, int(rng.choice(DRUMS[label])))
    instrument = INSTRUMENTS[label]
    low, high = instrument.lowest, instrument.highest
    middle = int(np.clip(rng.normal((low + high) / 2, (high - low) / 4.5), low, high))
    if rng.random() < 0.5:
        notes = [Note(0.0, _length(rng, instrument.held), middle, _velocity(rng))]
    elif label == "acoustic guitar" and rng.random() < 0.5:
        notes = _chords(rng, low)
    else:
        notes = _tune(rng, middle, low, high)
    return Phrase(int(rng.choice(instrument.programs)), tuple(notes), instrument.held)


def _velocity(rng: np.random.Generator) -> int:
    return int(rng.integers(50, 128))


def _length(rng: np.random.Generator, held: bool) -> float:
    """Mostly long notes for sustained instruments, as in recordings of single notes."""
    return float(rng.uniform(1.0, 6.5) if held and rng.random() < 0.75 else rng.uniform(0.3, 1.5))


def _strokes(rng: np.random.Generator, key: int) -> Phrase:
    count = 1 if rng.random() < 0.6 else int(rng.integers(2, 9))
    step_s = float(rng.uniform(0.15, 0.6))
    notes = (Note(i * step_s, step_s, key, _velocity(rng)) for i in range(count))
    return Phrase(None, tuple(notes), held=False)


def _tune(rng: np.random.Generator, middle: int, low: int, high: int) -> list[Note]:
    """A scale up or down, or a random walk on it."""
    count, step_s = int(rng.integers(3, 9)), float(rng.uniform(0.15, 0.9))
    walk, direction, place = rng.random() < 0.5, int(rng.choice([-1, 1])), 0
    notes = []
    for i in range(count):
        place = int(np.clip(place + rng.integers(-2, 3), -7, 7)) if walk else direction * min(i, 7)
        key = int(np.clip(middle + np.sign(place) * _MAJOR[abs(place)], low, high))
        seconds = step_s * float(rng.uniform(0.6, 1.0))
        notes.append(Note(i * step_s, seconds, key, _velocity(rng)))
    return notes


def _chords(rng: np.random.Generator, low: int) -> list[Note]:
    notes, onset_s = [], 0.0
    for _ in range(int(rng.integers(1, 4))):
        root, seconds = low + int(rng.integers(0, 12)), float(rng.uniform(0.5, 2.0))
        between_s = float(rng.uniform(0.01, 0.04))
        for string, interval in enumerate(_CHORD[: int(rng.integers(3, 7))]):
            notes.append(
                Note(onset_s + string * between_s, seconds, root + interval, _velocity(rng))
            )
        onset_s += max(seconds, 0.5)
    return notes
