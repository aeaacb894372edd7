"""Pseudo-speech: English words by source-filter synthesis.

A glottal pulse train and noise pass through formant resonators that move from phone to phone
(after the parallel formant synthesizers of the 1980s). A word is a sequence of ARPAbet phones, a
phone one or more segments of a table, and a speaker a pitch, a vocal tract length and a rate, so
words have to be recognized across voices. Filtering is done on overlapping spectra of the
excitation, all frames at once.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from pal_plugin.soundworld.events import SAMPLE_RATE_HZ, Speaker, Word
from pal_plugin.soundworld.waves import period_table, read_table, samples

LEXICON = {
    "zero": "Z IH R OW",
    "one": "W AH N",
    "two": "T UW",
    "three": "TH R IY",
    "four": "F AO R",
    "five": "F AY V",
    "six": "S IH K S",
    "seven": "S EH V AX N",
    "eight": "EY T",
    "nine": "N AY N",
    "red": "R EH D",
    "green": "G R IY N",
    "blue": "B L UW",
    "black": "B L AE K",
    "white": "W AY T",
    "cat": "K AE T",
    "dog": "D AO G",
    "cow": "K AW",
    "sheep": "SH IY P",
    "mouse": "M AW S",
}
WORDS = list(LEXICON)


class Segment(NamedTuple):
    """A steady target: duration at rate 1 in ms, formants, and amplitudes of the three sources."""

    ms: float
    f1_hz: float
    f2_hz: float
    f3_hz: float
    voice: float = 0.0
    breath: float = 0.0  # noise through the formants
    hiss: float = 0.0  # noise through its own band
    hiss_hz: float = 4000.0


def _vowel(ms: float, f1: float, f2: float, f3: float) -> list[Segment]:
    return [Segment(ms, f1, f2, f3, voice=1.0)]


def _stop(f2: float, burst_hz: float, voiced: bool) -> list[Segment]:
    hum = 0.12 if voiced else 0.0
    tail = (
        Segment(15, 350, f2, 2500, voice=0.5)
        if voiced
        else Segment(45, 400, f2, 2500, breath=0.3, hiss=0.15, hiss_hz=burst_hz)
    )
    return [
        Segment(60, 250, f2, 2500, voice=hum),
        Segment(14, 300, f2, 2500, hiss=0.6, hiss_hz=burst_hz),
        tail,
    ]


PHONES: dict[str, list[Segment]] = {
    "IY": _vowel(150, 280, 2250, 2950),
    "IH": _vowel(95, 400, 1950, 2550),
    "EH": _vowel(120, 550, 1800, 2500),
    "AE": _vowel(150, 680, 1700, 2450),
    "AH": _vowel(120, 640, 1200, 2400),
    "AX": _vowel(60, 500, 1450, 2500),
    "AO": _vowel(150, 580, 880, 2450),
    "UW": _vowel(160, 310, 900, 2250),
    "EY": _vowel(80, 500, 1850, 2550) + _vowel(90, 330, 2200, 2750),
    "AY": _vowel(100, 720, 1250, 2450) + _vowel(90, 380, 2050, 2600),
    "OW": _vowel(90, 540, 980, 2400) + _vowel(90, 360, 830, 2300),
    "AW": _vowel(100, 720, 1300, 2450) + _vowel(90, 380, 880, 2300),
    "W": [Segment(65, 300, 640, 2200, voice=0.5)],
    "R": [Segment(75, 340, 1080, 1450, voice=0.6)],
    "L": [Segment(70, 340, 1050, 2850, voice=0.55)],
    "M": [Segment(75, 250, 950, 2200, voice=0.35)],
    "N": [Segment(75, 260, 1500, 2600, voice=0.35)],
    "S": [Segment(115, 320, 1700, 2600, hiss=0.55, hiss_hz=6200)],
    "Z": [Segment(85, 280, 1700, 2600, voice=0.25, hiss=0.35, hiss_hz=6000)],
    "SH": [Segment(120, 320, 1900, 2600, hiss=0.6, hiss_hz=3000)],
    "F": [Segment(105, 320, 1100, 2300, breath=0.1, hiss=0.12, hiss_hz=5200)],
    "TH": [Segment(100, 320, 1400, 2600, breath=0.08, hiss=0.15, hiss_hz=4600)],
    "V": [Segment(65, 280, 1100, 2300, voice=0.3, hiss=0.07, hiss_hz=5000)],
    "B": _stop(850, 700, voiced=True),
    "D": _stop(1700, 4200, voiced=True),
    "G": _stop(1900, 2000, voiced=True),
    "P": _stop(850, 800, voiced=False),
    "T": _stop(1750, 4800, voiced=False),
    "K": _stop(1800, 1900, voiced=False),
}

_FRAME, _HOP = 512, 128
_WINDOW = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)
_BINS_HZ = np.arange(_FRAME // 2 + 1) * SAMPLE_RATE_HZ / _FRAME
_BANDWIDTHS_HZ = np.array([70.0, 95.0, 140.0, 220.0, 300.0])


@cache
def _segments(word: str) -> np.ndarray:
    """The word's segments [n, 8], columns as in `Segment`."""
    return np.array([s for phone in LEXICON[word].split() for s in PHONES[phone]])


@cache
def _plain_seconds(word: str) -> float:
    return float(_segments(word)[:, 0].sum()) / 1000.0


def word_seconds(word: str, rate: float) -> float:
    """Duration of the word in seconds at this rate. Raises ValueError for unknown words."""
    if word not in LEXICON:
        raise ValueError(f"word {word!r} is not in the lexicon; known: {', '.join(WORDS)}")
    return round(_plain_seconds(word) / rate, 3)


def _smooth(track: np.ndarray, width: int) -> np.ndarray:
    """Moving average along the first axis, with edge padding."""
    padded = np.pad(track, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    total = np.cumsum(np.pad(padded, ((1, 0), (0, 0))), axis=0)
    return (total[width:] - total[:-width]) / width


def _resonances(formants_hz: np.ndarray, tract: float) -> np.ndarray:
    """Gain [frames, bins] of the vocal tract: F1-F3 [frames, 3] and two fixed higher formants."""
    higher = np.broadcast_to([3500.0 * tract, 4500.0 * tract], (len(formants_hz), 2))
    centres = np.concatenate([formants_hz, higher], 1)[..., None]
    ratio = (_BINS_HZ / centres) ** 2
    damping = ratio * (_BANDWIDTHS_HZ[:, None] / centres) ** 2
    # Five resonances approximate infinitely many; the lift compensates for the rest.
    lift = 1.0 + (_BINS_HZ / 3500.0) ** 2
    return lift / np.sqrt(((1.0 - ratio) ** 2 + damping).prod(1))


def say(
    rng: np.random.Generator,
    words: tuple[Word, ...],
    onset_s: float,
    duration_s: float,
    speaker: Speaker,
) -> np.ndarray:
    """Waveform of the words, `duration_s` long, which starts at `onset_s` of the scene."""
    n = samples(duration_s)
    frames = -(-n // _HOP) + _FRAME // _HOP
    centres_s = (np.arange(frames) * _HOP - _FRAME // 2 + _HOP) / SAMPLE_RATE_HZ

    bounds, table = [], []
    for word in words:
        segments = _segments(word.word)
        begin_s = word.onset_s - onset_s
        ends_s = begin_s + np.cumsum(segments[:, 0]) / segments[:, 0].sum() * word.duration_s
        bounds += [begin_s, *ends_s]
        silent = segments[:1].copy()
        silent[:, 4:7] = 0.0
        table += [silent, segments]
    last = table[-1][-1:].copy()
    last[:, 4:7] = 0.0
    table = np.concatenate([*table, last])  # row i holds until bounds[i]
    formants = table[np.searchsorted(bounds, centres_s, side="right"), 1:4]
    formants = _smooth(formants, max(2, round(0.05 * SAMPLE_RATE_HZ / _HOP / speaker.rate)))

    # Amplitudes with 1 ms resolution, which keeps bursts short.
    fine_s = np.arange(0.0, duration_s + 0.001, 0.001)
    rows = np.searchsorted(bounds, fine_s, side="right")
    amplitudes = _smooth(table[rows, 4:7], 9)
    voice, breath, hiss = (
        np.interp(np.arange(n) / SAMPLE_RATE_HZ, fine_s, column) for column in amplitudes.T
    )
    hiss_hz = table[np.searchsorted(bounds, centres_s, side="right"), 7]

    fall = np.linspace(1.08, 0.88, n) * (
        1.0 + 0.06 * np.interp(np.arange(n), np.linspace(0, n, 6), rng.standard_normal(6))
    )
    f0_hz = speaker.f0_hz * fall
    k = np.arange(1, int(min(60, 7000.0 / speaker.f0_hz)) + 1)
    # A glottal pulse falls by 12 dB per octave, lip radiation adds 6 dB.
    pulses = period_table(k ** -rng.uniform(0.9, 1.2), 0.5 * np.pi)
    source = read_table(pulses, np.cumsum(f0_hz) / SAMPLE_RATE_HZ) * voice
    noise = rng.standard_normal((2, n))
    source += noise[0] * (breath + 0.02 * voice)

    formant_gain = _resonances(formants * speaker.tract, speaker.tract)
    f = np.maximum(_BINS_HZ, 1.0)
    centre = np.minimum(hiss_hz * speaker.tract**0.5, 7000.0)[:, None]
    hiss_gain = 1.0 / (1.0 + 6.0 * np.log2(f / centre) ** 2)

    out = np.zeros((frames + _FRAME // _HOP) * _HOP)
    for excitation, gain in ((source, formant_gain), (noise[1] * hiss, hiss_gain)):
        padded = np.zeros(frames * _HOP + _FRAME)
        padded[_FRAME - _HOP : _FRAME - _HOP + n] = excitation
        pieces = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:frames]
        filtered = np.fft.irfft(np.fft.rfft(pieces * _WINDOW) * gain, _FRAME)
        for i in range(_FRAME // _HOP):
            out[i * _HOP : (i + frames) * _HOP] += filtered[:, i * _HOP : (i + 1) * _HOP].ravel()
    return out[_FRAME - _HOP : _FRAME - _HOP + n]
