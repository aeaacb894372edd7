"""Synthesizes phrases with tinysoundfont and a General MIDI soundfont."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pal_plugin.notes.phrases import Phrase
from pal_plugin.utils.errors import ConfigError

#: Sampling rate of the synthesizer, which does not filter transposed samples: well above the rate
#: of the clips, which limits aliasing.
PLAYED_HZ = 48_000
_DRUM_BANK, _DRUM_CHANNEL = 128, 9
#: Frames in which the synthesizer decays between two phrases.
_REST = 4_800


class Player:
    """Plays phrases one at a time.

    Args:
        soundfont: SF2 or SF3 file of General MIDI.

    Raises:
        ConfigError: if the file does not exist or is not readable, or the synthesizer is missing.
    """

    def __init__(self, soundfont: Path) -> None:
        check_installed()
        import tinysoundfont

        if not Path(soundfont).is_file():
            raise ConfigError(f"no soundfont at {soundfont}")
        self._synth = tinysoundfont.Synth(samplerate=PLAYED_HZ, gain=-6)
        try:
            self._font = self._synth.sfload(str(soundfont))
        except Exception as error:  # the library does not document its exceptions
            raise ConfigError(f"cannot read {soundfont} as a soundfont: {error}") from error

    def play(self, phrase: Phrase, tail_s: float) -> np.ndarray:
        """Mono float32 `[samples]` at PLAYED_HZ, with `tail_s` seconds after the last note."""
        synth, channel = self._synth, 0
        if phrase.program is None:
            channel = _DRUM_CHANNEL
            synth.program_select(channel, self._font, _DRUM_BANK, 0, True)
        else:
            synth.program_select(channel, self._font, 0, phrase.program)
        parts, now = [], 0
        for at, key, velocity in _events(phrase):
            parts.append(self._next(at - now))
            now = at
            if velocity:
                synth.noteon(channel, key, velocity)
            else:
                synth.noteoff(channel, key)
        parts.append(self._next(round(tail_s * PLAYED_HZ)))
        synth.sounds_off(channel)
        self._next(_REST)
        return np.concatenate(parts)

    def _next(self, frames: int) -> np.ndarray:
        if frames <= 0:
            return np.zeros(0, np.float32)
        stereo = np.frombuffer(bytes(self._synth.generate(frames)), np.float32)
        return stereo.reshape(-1, 2).mean(1)


def _events(phrase: Phrase) -> Iterator[tuple[int, int, int]]:
    """`(frame, key, velocity)` in order; velocity 0 ends a note, before simultaneous onsets."""
    events = []
    for note in phrase.notes:
        start, end = note.onset_s, note.onset_s + note.seconds
        events.append((round(start * PLAYED_HZ), note.key, note.velocity))
        events.append((round(end * PLAYED_HZ), note.key, 0))
    yield from sorted(events, key=lambda event: (event[0], event[2]))


def check_installed() -> None:
    """Raises ConfigError with install instructions if the synthesizer is missing."""
    try:
        import tinysoundfont  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "pal_notes needs tinysoundfont to synthesize: pip install --no-deps tinysoundfont "
            "(its dependencies are only for live playback)"
        ) from error
