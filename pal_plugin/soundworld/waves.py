"""Building blocks of synthesis: wavetables, envelopes, shaped noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pal_plugin.soundworld.events import SAMPLE_RATE_HZ

TABLE_SIZE = 8192


def samples(seconds: float) -> int:
    """The number of samples of a duration, rounded."""
    return round(seconds * SAMPLE_RATE_HZ)


def times(n: int) -> np.ndarray:
    """Times of samples [n], in seconds."""
    return np.arange(n) / SAMPLE_RATE_HZ


def period_table(amplitudes: np.ndarray, phases: np.ndarray | float = 0.0) -> np.ndarray:
    """A wavetable: one period [TABLE_SIZE] of harmonics 1, 2, ... with the given amplitudes."""
    spectrum = np.zeros(TABLE_SIZE // 2 + 1, complex)
    spectrum[1 : len(amplitudes) + 1] = amplitudes * np.exp(1j * np.asarray(phases))
    return np.fft.irfft(spectrum, TABLE_SIZE) * TABLE_SIZE / 2


def read_table(table: np.ndarray, cycles: np.ndarray) -> np.ndarray:
    """Looks up a wavetable at phases in cycles."""
    return table[(cycles * TABLE_SIZE).astype(np.int64) & (TABLE_SIZE - 1)]


def turns(frequency_hz: np.ndarray) -> np.ndarray:
    """Phase of a time-varying frequency, in cycles."""
    return np.cumsum(frequency_hz) / SAMPLE_RATE_HZ


def edges(n: int, attack_s: float, release_s: float) -> np.ndarray:
    """An envelope [n] of ones with raised-cosine attack and release."""
    envelope = np.ones(n)
    for seconds, part in ((attack_s, slice(None)), (release_s, slice(None, None, -1))):
        m = min(samples(seconds), n // 2)
        envelope[part][:m] *= 0.5 - 0.5 * np.cos(np.pi * (np.arange(m) + 0.5) / max(m, 1))
    return envelope


def shaped_noise(rng: np.random.Generator, n: int, gain: Callable) -> np.ndarray:
    """Gaussian noise [n] with its spectrum multiplied by `gain(frequencies in Hz)`."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    return np.fft.irfft(spectrum * gain(np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)), n)


def band_pass(low_hz: float, high_hz: float) -> Callable[[np.ndarray], np.ndarray]:
    """A band-pass gain with soft edges (12 dB per octave below, 24 above)."""

    def gain(frequency_hz: np.ndarray) -> np.ndarray:
        f = np.maximum(frequency_hz, 1.0)
        return 1.0 / ((1.0 + (low_hz / f) ** 2) * (1.0 + (f / high_hz) ** 4))

    return gain
