"""Data model of scenes: sounds, events and the scene itself, as frozen dataclasses.

An event is everything that one source does in a scene, for example a bell struck three times: one
`Event` of three `Sound`s. Times are in seconds from the start of the scene, with a resolution of
1 ms. Levels are the RMS of a sound over its duration, in dB relative to full scale.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

SAMPLE_RATE_HZ = 16_000

#: Kinds of sound: (noun with article, plural, singular verb, plural verb).
NAMES = {
    "tone": ("a tone", "tones", "sounds", "sound"),
    "sweep": ("a sweep", "sweeps", "glides", "glide"),
    "bell": ("a bell", "bells", "rings", "ring"),
    "noise burst": ("a noise burst", "noise bursts", "hisses", "hiss"),
    "engine": ("an engine", "engines", "runs", "run"),
    "drip": ("a drip", "drips", "falls", "fall"),
    "siren": ("a siren", "sirens", "wails", "wail"),
    "rhythm": ("a rhythm", "rhythms", "plays", "play"),
    "speech": ("a voice", "voices", "speaks", "speak"),
    "melody": ("a melody", "melodies", "plays", "play"),
    "bird": ("a bird", "birds", "sings", "sing"),
    "rain": ("rain", "rain", "falls", "fall"),
}
LABELS = list(NAMES)


@dataclass(frozen=True, slots=True)
class Sound:
    """One stroke, beep, drop, ... `end_hz` is a sweep's final pitch (None for other kinds)."""

    onset_s: float
    duration_s: float
    level_db: float
    pitch_hz: float | None = None
    end_hz: float | None = None

    @property
    def offset_s(self) -> float:
        """End in seconds."""
        return self.onset_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Word:
    """A spoken word; `onset_s` is relative to the start of the scene."""

    word: str
    onset_s: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice: mean pitch, formant scale (1 = average male), speaking rate (1 = neutral)."""

    f0_hz: float
    tract: float
    rate: float


@dataclass(frozen=True, slots=True)
class Event:
    """One sound source: `sounds` in time order; `words` and `speaker` for speech only."""

    kind: str
    sounds: tuple[Sound, ...]
    words: tuple[Word, ...] = ()
    speaker: Speaker | None = None

    @property
    def onset_s(self) -> float:
        """Start of the first sound, in seconds."""
        return self.sounds[0].onset_s

    @property
    def offset_s(self) -> float:
        """End of the last sound, in seconds."""
        return self.sounds[-1].offset_s

    @property
    def duration_s(self) -> float:
        """From onset to offset, in seconds."""
        return round(self.offset_s - self.onset_s, 3)

    @property
    def pitch_hz(self) -> float | None:
        """Pitch of the first sound; None for unpitched kinds."""
        return self.sounds[0].pitch_hz

    @property
    def level_db(self) -> float:
        """Level of the loudest sound."""
        return max(sound.level_db for sound in self.sounds)

    @property
    def count(self) -> int:
        """Number of sounds."""
        return len(self.sounds)

    @property
    def direction(self) -> str | None:
        """ "up" or "down" for a sweep, else None."""
        first = self.sounds[0]
        if first.end_hz is None:
            return None
        return "up" if first.end_hz > first.pitch_hz else "down"

    @property
    def transcript(self) -> str | None:
        """The spoken words; None without speech."""
        return " ".join(w.word for w in self.words) if self.words else None

    def as_dict(self) -> dict:
        """The event as stored in a shard's JSON."""
        heard = ("onset_s", "duration_s", "pitch_hz", "level_db")
        out = {
            **_fields(self, ("kind", *heard, "transcript", "count", "direction")),
            "sounds": [_fields(sound, heard) for sound in self.sounds],
        }
        if self.words:
            out["words"] = [asdict(word) for word in self.words]
            out["speaker"] = asdict(self.speaker)
        return out


def _fields(thing: Event | Sound, names: Iterable[str]) -> dict:
    return {name: getattr(thing, name) for name in names}


@dataclass(frozen=True, slots=True)
class Scene:
    """The content of a clip. `layout` is "alone", "sequence" or "overlap"; events in onset order.

    `seed` determines everything that has no field here (timbre, room, background noise).
    """

    seconds: float
    label: str
    events: tuple[Event, ...]
    layout: str
    noise_db: float
    seed: int
