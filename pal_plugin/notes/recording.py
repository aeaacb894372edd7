"""Makes synthesized phrases sound recorded: dynamics, tuning, room, coloration, noise."""

from __future__ import annotations

import numpy as np
import torch

from pal_plugin.audio.io import resample

SAMPLE_RATE_HZ = 16_000
#: Maximum length of a clip in seconds.
MAX_S = 10.0
#: The end of a clip is trimmed where it stays this far below the peak, in dB.
_SILENCE_DB = 50.0


def recorded(rng: np.random.Generator, played: np.ndarray, rate_hz: int, held: bool) -> np.ndarray:
    """`[samples]` at `rate_hz` -> float32 `[samples]` at 16 kHz within -1..1, at most MAX_S long.

    Args:
        held: whether the level may change during a note.
    """
    cents = rng.normal(0.0, 15.0)  # instruments are rarely exactly in tune
    tuned_hz = round(rate_hz * 2 ** (cents / 1200) / 100) * 100
    sound = resample(torch.from_numpy(played), tuned_hz, SAMPLE_RATE_HZ).double().numpy()
    if held:
        sound = sound * _swell(rng, len(sound))
    if rng.random() < 0.75:
        sound = _in_a_room(rng, sound)
    sound = _coloured(rng, _without_end(sound))
    sound /= max(np.abs(sound).max(), 1e-9) / _gain(rng.uniform(-20.0, -0.5))
    noise = _noise(rng, len(sound)) * np.sqrt(np.mean(sound**2)) * _gain(-rng.uniform(25.0, 70.0))
    return np.clip(sound + noise, -1.0, 1.0)[: round(MAX_S * SAMPLE_RATE_HZ)].astype(np.float32)


def _gain(db: float) -> float:
    return 10 ** (db / 20)


def _filtered(sound: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.fft.irfft(np.fft.rfft(sound) * gain, len(sound))


def _frequencies(count: int) -> np.ndarray:
    return np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ), 20.0)


def _swell(rng: np.random.Generator, count: int) -> np.ndarray:
    """A level curve: interpolates a few points up to 12 dB apart."""
    points = _gain(1.0) ** rng.uniform(-12.0, 0.0, int(rng.integers(2, 6)))
    return np.interp(np.linspace(0, len(points) - 1, count), np.arange(len(points)), points)


def _in_a_room(rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """Adds reverberation: decaying noise as the impulse response, darker than the direct sound."""
    decay_s = rng.uniform(0.15, 1.8)
    count = round(1.1 * decay_s * SAMPLE_RATE_HZ)
    answer = rng.standard_normal(count) * 10 ** (-3 * np.arange(count) / SAMPLE_RATE_HZ / decay_s)
    answer = _filtered(answer, 1 / (1 + (_frequencies(count) / rng.uniform(1500, 6000)) ** 2))
    whole = len(sound) + count
    size = 1 << (whole - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(answer, size), size)[:whole]
    wet *= np.sqrt(np.sum(sound**2) / max(np.sum(wet**2), 1e-12))
    return np.pad(sound, (0, count)) + _gain(rng.uniform(-20.0, -2.0)) * wet


def _without_end(sound: np.ndarray) -> np.ndarray:
    loud = np.flatnonzero(np.abs(sound) > np.abs(sound).max() * _gain(-_SILENCE_DB))
    return sound[: loud[-1] + 1] if len(loud) else sound


def _coloured(rng: np.random.Generator, sound: np.ndarray) -> np.ndarray:
    """Applies a tilt, band limits, and two broad peaks or dips, as of microphones and rooms."""
    hz = _frequencies(len(sound))
    gain = (hz / 1000) ** (rng.uniform(-2.0, 2.0) / 6.02)
    if rng.random() < 0.5:
        gain /= 1 + (hz / rng.uniform(3000, 8000)) ** 4
    if rng.random() < 0.5:
        gain /= 1 + (rng.uniform(30, 120) / hz) ** 2
    for _ in range(2):
        octaves = np.log2(hz / np.exp(rng.uniform(np.log(150), np.log(6000))))
        gain *= _gain(rng.uniform(-6.0, 6.0)) ** np.exp(-((octaves / 0.7) ** 2))
    return _filtered(sound, gain)


def _noise(rng: np.random.Generator, count: int) -> np.ndarray:
    """Noise `[count]` from white to brownish, with RMS 1."""
    noise = _filtered(rng.standard_normal(count), _frequencies(count) ** -rng.uniform(0.0, 0.7))
    return noise / max(np.sqrt(np.mean(noise**2)), 1e-12)
