"""Centred power-mel spectra in torch, shared by CLAP and Whisper.

Design choice: the zeros that fill a window are never transformed. Frames which see nothing but
padding have power 0, so only the frames up to the clip's end are computed and the rest is filled
with zeros; the numbers are those of the padded window.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank


def slaney_filters(
    n_fft: int, n_mels: int, sample_rate_hz: int, low_hz: float, high_hz: float
) -> Tensor:
    """Slaney mel filters `[n_mels, 1 + n_fft // 2]`, float32."""
    filters = mel_filter_bank(
        num_frequency_bins=1 + n_fft // 2,
        num_mel_filters=n_mels,
        min_frequency=low_hz,
        max_frequency=high_hz,
        sampling_rate=sample_rate_hz,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters).to(torch.float32).T.contiguous()


def _power_mel(windows: Tensor, n_fft: int, hop_length: int, filters: Tensor) -> Tensor:
    """`[W, S]` -> `[W, n_mels, 1 + S // hop_length]`, reflect-padded periodic Hann STFT."""
    spectrum = torch.stft(
        windows,
        n_fft,
        hop_length,
        window=torch.hann_window(n_fft),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    parts = torch.view_as_real(spectrum)
    return filters @ (parts[..., 0].square() + parts[..., 1].square())


def windowed_power_mel(
    waveform: Tensor, window_samples: int, n_fft: int, hop_length: int, filters: Tensor
) -> Tensor:
    """Mel power of each consecutive window of a clip, the last one filled up with silence.

    Args:
        waveform: `[S]` float32, S >= 1.
        window_samples: samples per window.
        filters: `[n_mels, 1 + n_fft // 2]`.

    Returns:
        `[W, n_mels, F]` with W = ceil(S / window_samples), F = 1 + window_samples // hop_length.
    """
    full, rest = divmod(waveform.numel(), window_samples)
    frames = 1 + window_samples // hop_length
    parts = []
    if full:
        windows = waveform[: full * window_samples].view(full, window_samples)
        parts.append(_power_mel(windows, n_fft, hop_length, filters))
    if rest:
        # n_fft further zeros, so that the reflection at the shortened end reflects zeros only.
        length = min(window_samples, rest + n_fft)
        last = torch.nn.functional.pad(waveform[full * window_samples :], (0, length - rest))
        mel = _power_mel(last[None], n_fft, hop_length, filters)
        parts.append(torch.nn.functional.pad(mel, (0, frames - mel.shape[-1])))
    return parts[0] if len(parts) == 1 else torch.cat(parts)
