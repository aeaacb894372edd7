"""Kaldi's log-mel filter bank at 16 kHz for batches of clips: the front end of SSLAM and AST.

Design choice: `torchaudio.compliance.kaldi.fbank` takes one clip and makes its filters anew each
time. Here the filters are torchaudio's own, made once, and the frames of all clips are transformed
together; what is done to a frame follows Kaldi's order, so that even its rounding is the same.
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
#: What the bank's logarithm is limited to, in either precision.
FLOOR = torch.finfo(torch.float32).eps


@lru_cache(maxsize=32)
def mel_filters(n_mels: int, dtype: torch.dtype, device: torch.device) -> Filters:
    """Kaldi's filters from 20 Hz to the Nyquist frequency."""
    filters, _ = kaldi.get_mel_banks(n_mels, N_FFT, float(RATE_HZ), 20.0, 0.0, 100.0, -500.0, 1.0)
    return Filters(filters.T, dtype, device)


def filter_banks(clips: list[Tensor], n_mels: int) -> list[Tensor]:
    """Clips `[S_c]` at 16 kHz -> natural logarithms `[F_c, n_mels]`, F_c = 1 + (S_c - 400) // 160.

    As torchaudio's `fbank` with a Hann window ("hanning") and its other defaults: 25 ms frames each
    10 ms where they fit whole, each without its mean, pre-emphasis 0.97, no dither.

    Args:
        clips: of one type, which is that of the arithmetic; at least 400 samples each.
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
    """The bank of each clip is computed once and then cut, so no frame is lost at a border.

    A clip whose last window is shorter than a frame is filled up with zeros to one frame.

    Args:
        clips: `[S_c]`.
        windows: how many windows each clip has.
        shift_frames: frames from the start of one window to that of the next.
        window_frames: frames of a window; those after the clip's end are 0.

    Returns:
        (`[sum W, window_frames, n_mels]`, the clip's own frames in each window, at least 1).
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
    """Of each frame `[F, 400]`; its first sample does not matter, the window is 0 there."""
    frames = frames - frames.mean(1, keepdim=True)
    frames[:, 1:] -= PREEMPHASIS * frames[:, :-1]
    return frames
