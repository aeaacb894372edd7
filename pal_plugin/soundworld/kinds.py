"""Synthesis of the kinds of sound other than speech.

One function per kind, `(rng, sounds) -> list of waveforms`: the timbre is drawn once per event and
shared by its repetitions, as for one real bell struck three times; kinds that are not repeated have
`(rng, sound) -> waveform`. Periodic sounds use wavetables, so that a rich spectrum costs one lookup
per sample instead of one cosine per harmonic. `pal_plugin.soundworld.render` scales every sound to
its level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pal_plugin.soundworld.events import SAMPLE_RATE_HZ, Sound
from pal_plugin.soundworld.waves import (
    band_pass,
    edges,
    period_table,
    read_table,
    samples,
    shaped_noise,
    times,
    turns,
)

NYQUIST_HZ = SAMPLE_RATE_HZ / 2

Waveforms = list[np.ndarray]
Synthesis = Callable[[np.random.Generator, Sequence[Sound]], Waveforms]


def _harmonics(rng: np.random.Generator, highest_hz: float) -> np.ndarray:
    """Harmonic amplitudes of a steady tone: from a pure sine to a hollow or a bright spectrum."""
    count = int(np.clip(0.9 * NYQUIST_HZ / highest_hz, 1, 12))
    k = np.arange(1, count + 1)
    slope = rng.uniform(1.3, 3.5)
    even = rng.choice([0.0, 1.0])
    amplitudes = k**-slope * np.where(k % 2 == 0, even, 1.0)
    if rng.random() < 0.3:
        amplitudes[1:] = 0.0
    return amplitudes


def tone(rng: np.random.Generator, sounds: Sequence[Sound]) -> Waveforms:
    """A steady pitch, optionally with slight tremolo."""
    table = period_table(_harmonics(rng, max(s.pitch_hz for s in sounds)))
    attack_s, release_s = rng.uniform(0.005, 0.05), rng.uniform(0.01, 0.08)
    depth, rate_hz = rng.choice([0.0, 0.25]) * rng.random(), rng.uniform(3.0, 8.0)
    out = []
    for sound in sounds:
        t = times(samples(sound.duration_s))
        tremolo = 1.0 + depth * np.sin(2 * np.pi * rate_hz * t)
        out.append(
            read_table(table, sound.pitch_hz * t) * tremolo * edges(len(t), attack_s, release_s)
        )
    return out


def sweep(rng: np.random.Generator, sounds: Sequence[Sound]) -> Waveforms:
    """A glide from `pitch_hz` to `end_hz`, linear in Hz or in octaves."""
    table = period_table(_harmonics(rng, max(max(s.pitch_hz, s.end_hz) for s in sounds)))
    linear = rng.random() < 0.4
    attack_s, release_s = rng.uniform(0.01, 0.05), rng.uniform(0.02, 0.08)
    out = []
    for sound in sounds:
        n = samples(sound.duration_s)
        if linear:
            frequency_hz = np.linspace(sound.pitch_hz, sound.end_hz, n)
        else:
            frequency_hz = np.geomspace(sound.pitch_hz, sound.end_hz, n)
        out.append(read_table(table, turns(frequency_hz)) * edges(n, attack_s, release_s))
    return out


def bell(rng: np.random.Generator, sounds: Sequence[Sound]) -> Waveforms:
    """A strike: inharmonic partials, higher ones decaying faster; `pitch_hz` is the strongest."""
    ratios = np.array([0.5, 1.0, 1.19, 1.5, 2.0, 2.74, 3.76, 5.1])
    ratios[2:] *= rng.uniform(0.97, 1.03, 6)
    amplitudes = np.array([0.25, 1.0, 0.5, 0.3, 0.5, 0.4, 0.3, 0.2]) * rng.uniform(0.4, 1.0, 8)
    amplitudes[1] = 1.0
    decay_s = rng.uniform(0.25, 0.9) / ratios ** rng.uniform(0.5, 0.9)
    out = []
    for sound in sounds:
        n = samples(sound.duration_s)
        audible = ratios * sound.pitch_hz < 0.95 * NYQUIST_HZ
        rate = (2j * np.pi * sound.pitch_hz * ratios - 1.0 / decay_s)[audible] / SAMPLE_RATE_HZ
        strike = amplitudes[audible] * np.exp(2j * np.pi * rng.random(audible.sum()))
        # exp(rate * t) as an outer product of coarse and fine times: 16 times fewer exponentials
        fine = np.exp(np.outer(rate, np.arange(128)))
        coarse = np.exp(np.outer(np.arange(-(-n // 128)) * 128, rate)) * strike
        out.append((coarse @ fine).real.ravel()[:n] * edges(n, 0.002, 0.04))
    return out


def noise_burst(rng: np.random.Generator, sounds: Sequence[Sound]) -> Waveforms:
    """A short, abrupt band of noise."""
    low_hz = np.exp(rng.uniform(np.log(80.0), np.log(2500.0)))
    band = band_pass(low_hz, min(low_hz * rng.uniform(2.5, 12.0), 7500.0))
    decay = rng.uniform(0.0, 3.0)
    attack_s, release_s = rng.uniform(0.002, 0.015), rng.uniform(0.01, 0.05)
    out = []
    for sound in sounds:
        n = samples(sound.duration_s)
        envelope = np.exp(-decay * np.linspace(0.0, 1.0, n)) * edges(n, attack_s, release_s)
        out.append(shaped_noise(rng, n, band) * envelope)
    return out


def engine(rng: np.random.Generator, sound: Sound) -> np.ndarray:
    """Cylinder firing at `pitch_hz`, uneven per stroke, slowly changing speed, with some hiss."""
    k = np.arange(1, 41)
    n = samples(sound.duration_s)
    t = times(n)
    body_hz = rng.uniform(120.0, 500.0)
    amplitudes = k ** -rng.uniform(0.5, 1.1) / (1.0 + (k * sound.pitch_hz / body_hz / 3) ** 2)
    table = period_table(amplitudes, rng.uniform(0, 2 * np.pi) * k / 7 + rng.normal(0, 0.5, 40))
    rev = rng.uniform(-0.25, 0.25) * t / max(sound.duration_s, 1.0)
    rev = rev + rng.uniform(0.0, 0.06) * np.sin(2 * np.pi * rng.uniform(0.5, 3.0) * t)
    cycles = turns(sound.pitch_hz * 2.0**rev)
    strokes = 1.0 + rng.uniform(0.1, 0.35) * rng.standard_normal(int(cycles[-1]) + 2)
    hum = read_table(table, cycles) * strokes[cycles.astype(np.int64)]
    hiss = shaped_noise(rng, n, band_pass(100.0, rng.uniform(600.0, 2000.0)))
    hiss *= 0.6 + 0.4 * np.cos(2 * np.pi * cycles)
    hiss *= rng.uniform(0.15, 0.5) * hum.std() / hiss.std()
    return (hum + hiss) * edges(n, 0.08, 0.1)


def drip(rng: np.random.Generator, sounds: Sequence[Sound]) -> Waveforms:
    """A water drop: a short bubble whose pitch rises as it decays."""
    rise, decay = rng.uniform(0.4, 1.1), rng.uniform(4.0, 6.5)
    click = rng.uniform(0.0, 0.3)
    out = []
    for sound in sounds:
        n = samples(sound.duration_s)
        x = np.linspace(0.0, 1.0, n)
        wave = np.sin(2 * np.pi * turns(sound.pitch_hz * (1.0 + rise * x))) * np.exp(-decay * x)
        m = min(48, n)
        wave[:m] += click * rng.standard_normal(m) * np.linspace(1.0, 0.0, m)
        out.append(wave * edges(n, 0.003, 0.01))
    return out


def siren(rng: np.random.Generator, sound: Sound) -> np.ndarray:
    """A pitch that oscillates around `pitch_hz`: a wail, or two alternating tones."""
    t = times(samples(sound.duration_s))
    # at least one and a half cycles, or it would be a sweep
    slowest_hz = 1.6 / sound.duration_s
    swing = t * rng.uniform(slowest_hz, max(slowest_hz * 1.3, 3.5)) + rng.random()
    shape = rng.integers(3)
    if shape == 0:
        position = np.sin(2 * np.pi * swing)
    elif shape == 1:
        position = np.tanh(20 * np.sin(2 * np.pi * swing))
    else:
        position = 4 * np.abs(swing % 1.0 - 0.5) - 1.0
    octaves = rng.uniform(0.25, 0.65)
    k = np.arange(1, int(np.clip(7000.0 / sound.pitch_hz / 2**octaves, 2, 10)) + 1)
    table = period_table(k ** -rng.uniform(0.8, 1.8))
    wave = read_table(table, turns(sound.pitch_hz * 2.0 ** (octaves * position)))
    return wave * edges(len(t), 0.03, 0.05)


def _drum(rng: np.random.Generator, kind: int) -> np.ndarray:
    n = samples(rng.uniform(0.09, 0.16) if kind < 2 else rng.uniform(0.03, 0.06))
    x = np.linspace(0.0, 1.0, n)
    if kind == 0:  # a drum skin: falling pitch
        return np.sin(2 * np.pi * turns(rng.uniform(60.0, 160.0) * (1 + 1.5 * (1 - x) ** 4))) * (
            np.exp(-4.0 * x)
        )
    low_hz = 500.0 if kind == 1 else 3500.0
    return 0.8 * shaped_noise(rng, n, band_pass(low_hz, 7500.0)) * np.exp(-5.0 * x)


def rhythm(rng: np.random.Generator, sound: Sound) -> np.ndarray:
    """Drum strokes on a steady beat in a repeating pattern."""
    n = samples(sound.duration_s)
    step = samples(rng.uniform(0.11, 0.22))
    drums = [_drum(rng, kind) for kind in range(3)]
    pattern = rng.random((4, 3)) < [0.35, 0.35, 0.5]
    pattern[0, 0] = pattern[2, 1] = True
    gains = rng.uniform(0.5, 1.0, 3)
    wave = np.zeros(n + samples(0.2))
    for i, start in enumerate(range(0, n - step // 2, step)):
        for drum, gain, hit in zip(drums, gains, pattern[i % 4], strict=True):
            if hit:
                wave[start : start + len(drum)] += gain * drum
    return wave[:n] * edges(n, 0.001, 0.03)


def melody(rng: np.random.Generator, sound: Sound) -> np.ndarray:
    """Three to eight notes of a pentatonic scale; `pitch_hz` is their geometric mean."""
    scale = np.array([0, 2, 4, 7, 9, 12])
    n = samples(sound.duration_s)
    count = int(np.clip(sound.duration_s / rng.uniform(0.16, 0.36), 3, 8))
    degrees = [int(rng.integers(6))]
    for _ in range(count - 1):  # move to a neighbouring note, never repeat one
        steps = [s for s in (-2, -1, 1, 2) if 0 <= degrees[-1] + s < 6]
        degrees.append(degrees[-1] + int(rng.choice(steps)))
    semitones = scale[degrees] - scale[degrees].mean()
    lengths = rng.choice([1.0, 1.0, 2.0], count) if count > 3 else np.ones(count)
    bounds = np.round(np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum() * n)
    table = period_table(_harmonics(rng, sound.pitch_hz * 2.0))
    decay, wave = rng.choice([0.3, 3.0]), np.zeros(n)
    for begin, end, shift in zip(bounds[:-1], bounds[1:], semitones, strict=True):
        t = times(int(end) - int(begin))
        note = read_table(table, sound.pitch_hz * 2.0 ** (shift / 12) * t)
        fade = np.exp(-decay * np.linspace(0.0, 1.0, len(t)))
        wave[int(begin) : int(end)] = note * fade * edges(len(t), 0.008, 0.02)
    return wave


def bird(rng: np.random.Generator, sound: Sound) -> np.ndarray:
    """Chirps around `pitch_hz`: short glides and warbles, as a trill or varied."""
    n = samples(sound.duration_s)
    wave, start, syllable = np.zeros(n), 0, None
    trill = rng.random() < 0.5
    while start < n - samples(0.04):
        if syllable is None or not trill:
            length_s, gap_s = rng.uniform(0.05, 0.16), rng.uniform(0.02, 0.1)
            m = samples(length_s)
            x = np.linspace(-0.5, 0.5, m)
            octaves = rng.uniform(-0.9, 0.9) * x + rng.uniform(-0.5, 0.5) * (4 * x * x - 0.5)
            octaves += rng.choice([0.0, 0.08]) * np.sin(2 * np.pi * rng.uniform(20, 60) * x)
            octaves += rng.uniform(-0.15, 0.15)
            frequency_hz = np.minimum(sound.pitch_hz * 2.0**octaves, 0.95 * NYQUIST_HZ)
            syllable = np.sin(2 * np.pi * turns(frequency_hz)) * np.sin(np.pi * (x + 0.5))
        part = syllable[: n - start]
        wave[start : start + len(part)] += part
        start += m + samples(gap_s)
    return wave * edges(n, 0.002, 0.02)


def rain(rng: np.random.Generator, sound: Sound) -> np.ndarray:
    """A steady hiss with many small drops."""
    n = samples(sound.duration_s)
    hiss = band_pass(rng.uniform(400.0, 1500.0), rng.uniform(4500.0, 7500.0))
    noise = shaped_noise(rng, n, hiss)
    drops = np.zeros(n)
    count = int(rng.uniform(40.0, 160.0) * sound.duration_s)
    drops[rng.integers(0, n, count)] = np.minimum(rng.exponential(1.0, count), 3.0)
    t = times(256)
    centre_hz = rng.uniform(1500.0, 5000.0)
    grain = rng.standard_normal(256) * 0.5 + np.cos(2 * np.pi * centre_hz * t)
    grain *= np.exp(-t / rng.uniform(0.001, 0.003))
    patter = np.convolve(drops, grain)[:n]
    patter *= rng.uniform(0.5, 1.4) * noise.std() / patter.std()
    return (noise + patter) * edges(n, 0.15, 0.15)


def _single(wave: Callable[[np.random.Generator, Sound], np.ndarray]) -> Synthesis:
    return lambda rng, sounds: [wave(rng, sound) for sound in sounds]


SYNTHESIS: dict[str, Synthesis] = {
    "tone": tone,
    "sweep": sweep,
    "bell": bell,
    "noise burst": noise_burst,
    "engine": _single(engine),
    "drip": drip,
    "siren": _single(siren),
    "rhythm": _single(rhythm),
    "melody": _single(melody),
    "bird": _single(bird),
    "rain": _single(rain),
}
