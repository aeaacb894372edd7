"""Recording conditions: silence, reverberation, noise, telephone bandwidth, level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import fftconvolve

from pal_plugin.audio.io import resample

SAMPLE_RATE_HZ = 16_000
TELEPHONE_HZ = 8_000
#: Exponents of frequency in the amplitude spectrum.
COLOURS = {"white": 0.0, "pink": -0.5, "brown": -1.0}
_LOWEST_HZ = 40.0
_PEAK = 0.98


@contextmanager
def one_thread() -> Iterator[None]:
    """Limits torch to one thread inside the block: with several, sums round differently, and clips
    would depend on the number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_silence(speech: Tensor, before_s: float, after_s: float) -> Tensor:
    """Speech `[S]` padded with silence."""
    ends = (round(before_s * SAMPLE_RATE_HZ), round(after_s * SAMPLE_RATE_HZ))
    return torch.nn.functional.pad(speech, ends)


def in_room(clip: Tensor, decay_s: float, wet_db: float, rng: np.random.Generator) -> Tensor:
    """Adds reverberation to `[S]`: noise that decays by 60 dB in `decay_s` seconds.

    Args:
        wet_db: energy of the reverberation relative to the direct sound, in dB.
    """
    n = round(decay_s * SAMPLE_RATE_HZ)
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / n)
    tail *= 10 ** (wet_db / 20) / np.sqrt(np.square(tail).sum())
    impulse = torch.from_numpy(np.concatenate([[1.0], tail])).float()
    return fftconvolve(clip, impulse)[: len(clip)]


def noise(colour: str, samples: int, rng: np.random.Generator) -> Tensor:
    """Gaussian noise `[samples]` of a colour in `COLOURS`, flat below 40 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequency_hz = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ), _LOWEST_HZ)
    shaped = np.fft.irfft(spectrum * frequency_hz ** COLOURS[colour], samples)
    return torch.from_numpy(shaped).float()


def babble(voices: list[Tensor], samples: int) -> Tensor:
    """Several simultaneous voices `[samples]`, equally loud, each looped to the length."""
    both = torch.zeros(samples)
    for number, voice in enumerate(voices):
        start = number * len(voice) // len(voices)  # staggered starts
        looped = voice[(start + torch.arange(samples)) % len(voice)]
        both += looped / looped.square().mean().sqrt().clamp_min(1e-6)
    return both


def by_telephone(clip: Tensor) -> Tensor:
    """Limits a clip `[S]` to the bandwidth of a telephone's 8 kHz."""
    narrow = resample(clip, SAMPLE_RATE_HZ, TELEPHONE_HZ)
    return resample(narrow, TELEPHONE_HZ, SAMPLE_RATE_HZ)[: len(clip)]


def at_level(clip: Tensor, level_db: float) -> Tensor:
    """Scales a clip `[S]` to an RMS level in dBFS, or lower to avoid clipping."""
    scale = 10 ** (level_db / 20) / clip.square().mean().sqrt().clamp_min(1e-6)
    return clip * torch.minimum(scale, _PEAK / clip.abs().max().clamp_min(1e-6))
