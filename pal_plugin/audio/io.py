"""Loads waveforms as tensors, and resamples them."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Any

import torch
import torchaudio
from torch import Tensor

from pal_plugin.audio.decoding import decode
from pal_plugin.audio.errors import AudioError
from pal_plugin.audio.sources import is_one_clip
from pal_plugin.audio.tensors import without_tensors

__all__ = ["AudioError", "is_one_clip", "load_audio", "resample"]

# Maximum kernel size of torchaudio's resampler (product of the reduced rates): 2**25 float32 are
# 128 MiB. Rates without a large common divisor (11111 -> 16000 Hz) would need gigabytes.
_MAX_KERNEL = 2**25


def load_audio(source: Any) -> tuple[Tensor, int]:
    """Loads one clip: `decoding.decode`, which also accepts a tensor with its rate.

    Returns:
        `(waveform [S] float32, sample_rate_hz)`.

    Raises:
        AudioError: if the source is undecodable, truncated, empty, non-finite or unsupported.
    """
    samples, rate_hz, _ = decode(without_tensors(source))
    return torch.from_numpy(samples), rate_hz


@lru_cache(maxsize=16)
def _resampler(from_hz: int, to_hz: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(from_hz, to_hz)


def resample(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Band-limited resampling of `[S]` to `[ceil(S * to_hz / from_hz)]`.

    Uses torchaudio's windowed sinc (kernels are cached per pair of rates); rates without a large
    common divisor, whose kernel would take gigabytes, are resampled in the frequency domain.
    """
    if from_hz == to_hz:
        return waveform
    common = gcd(from_hz, to_hz)
    if (from_hz // common) * (to_hz // common) <= _MAX_KERNEL:
        return _resampler(from_hz, to_hz)(waveform)
    # Whole seconds make both lengths integers; the extra second avoids wrap-around at the ends.
    seconds = -(-waveform.numel() // from_hz) + 1
    padded = torch.nn.functional.pad(waveform, (0, seconds * from_hz - waveform.numel()))
    spectrum = torch.fft.rfft(padded.double())
    bins = seconds * min(from_hz, to_hz) // 2
    kept = torch.zeros(seconds * to_hz // 2 + 1, dtype=spectrum.dtype)
    kept[:bins] = spectrum[:bins]
    resampled = torch.fft.irfft(kept, n=seconds * to_hz) * (to_hz / from_hz)
    return resampled[: -(-waveform.numel() * to_hz // from_hz)].to(waveform.dtype)
