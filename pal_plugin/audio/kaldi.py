"""Kaldi's log-mel filter bank at 16 kHz for batches of clips: the front end of SSLAM and AST.

Design choice: `torchaudio.compliance.kaldi.fbank` processes one clip and recomputes its filters on
every call. Here torchaudio's filters are cached, and the frames of all clips are transformed
together; operations on a frame keep Kaldi's order, so that rounding is identical.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchaudio.compliance import kaldi

from pal_plugin.audio.mel import Filters, hann, lay_out, power_mel

RATE_HZ = 16000
FRAME_SAMPLES, HOP_SAMPLES, N_FFT = 400, 160, 512
PREEMPHASIS = 0.97
#: Lower limit of the mel energies before the logarithm, in either precision.
FLOOR = torch.finfo(torch.float32).eps


@lru_cache(maxsize=32)
def mel_filters(n_mels: int, dtype: torch.dtype, device: torch.device) -> Filters:
    """Kaldi's mel filters from 20 Hz to the Nyquist frequency."""
    filters, _ = kaldi.get_mel_banks(n_mels, N_FFT, float(RATE_HZ), 20.0, 0.0, 100.0, -500.0, 1.0)
    return Filters(filters.T, dtype, device)


def filter_banks(clips: list[Tensor], n_mels: int) -> list[Tensor]:
    """Clips `[S_c]` at 16 kHz -> log-mel `[F_c, n_mels]` (natural log), F_c = 1 + (S_c - 400) //
    160.

    Equals torchaudio's `fbank` with a Hann window ("hanning") and otherwise default settings: 25 ms
    frames every 10 ms, only where they fit, DC removed per frame, pre-emphasis 0.97, no dither.

    Args:
        clips: of one dtype, in which everything is computed; at least 400 samples each.
    """
    dtype, device = clips[0].dtype, clips[0].device
    ribbon, starts = lay_out([[clip] for clip in clips], HOP_SAMPLES)
    mel = power_mel(
        ribbon.unfold(0, FRAME_SAMPLES, HOP_SAMPLES),
        hann(FRAME_SAMPLES, False, dtype, device),
        mel_filters(n_mels, dtype, device),
        N_FFT,
        _without_mean_and_emphasised,
    )
    log_mel = mel.clamp_(min=FLOOR).log_()
    counts = (1 + (len(clip) - FRAME_SAMPLES) // HOP_SAMPLES for clip in clips)
    return [log_mel[start:][:count] for start, count in zip(starts, counts, strict=True)]


def windowed_filter_bank(
    clips: list[Tensor],
    windows: list[int],
    shift_frames: int,
    window_frames: int,
    n_mels: int,
) -> tuple[Tensor, list[int]]:
    """Computes the filter bank of each clip once, then cuts it into windows, so that no frame at a
    window boundary is lost.

    A clip whose last window is shorter than a frame is zero-padded to one frame.

    Args:
        clips: `[S_c]`.
        windows: number of windows per clip.
        shift_frames: hop between windows, in frames.
        window_frames: window length in frames; frames after the clip's end are 0.

    Returns:
        (`[sum W, window_frames, n_mels]`, valid frames per window, at least 1).
    """
    filled = []
    for clip, count in zip(clips, windows, strict=True):
        least = (count - 1) * shift_frames * HOP_SAMPLES + FRAME_SAMPLES
        filled.append(pad(clip, (0, max(0, least - len(clip)))))
    banks = filter_banks(filled, n_mels)
    cut = banks[0].new_zeros(sum(windows), window_frames, n_mels)
    frames = []
    for bank, count in zip(banks, windows, strict=True):
        for i in range(count):
            part = bank[i * shift_frames :][:window_frames]
            cut[len(frames), : len(part)] = part
            frames.append(len(part))
    return cut, frames


def _without_mean_and_emphasised(frames: Tensor) -> Tensor:
    """Of frames `[F, 400]`; the first sample is irrelevant, since the window is 0 there."""
    frames = frames - frames.mean(1, keepdim=True)
    frames[:, 1:] -= PREEMPHASIS * frames[:, :-1]
    return frames
