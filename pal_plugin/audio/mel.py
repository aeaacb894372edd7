"""Batched power-mel spectra in torch, on any device: what CLAP, Whisper and Kaldi's bank share.

Design choice: the pieces of all clips are laid end to end in one ribbon whose pieces start at
multiples of the hop, so all frames of a batch are one strided view, whatever the clips' lengths.
A few frames run across two pieces; they are computed and left out. Zeros that fill a window are
not laid in: frames which see nothing but padding have power 0, and no transform is made of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.audio_utils import mel_filter_bank

#: Samples of the frames that are transformed at once. A CPU is fastest where a block stays in its
#: cache (of 2**15 to 2**20); a GPU where nothing is split that fits its memory.
CPU_BLOCK, GPU_BLOCK = 2**17, 2**27
#: Groups of neighbouring mel filters; each is multiplied with the bins that it reads, so that most
#: of the zeros are skipped (of 1 to 8 groups).
BANDS = 4


class Filters:
    """Mel filters, each of which reads few neighbouring bins.

    Args:
        matrix: `[bins, n_mels]` on the CPU, filters in the order of their frequency.
        dtype, device: where they are used.
    """

    def __init__(self, matrix: Tensor, dtype: torch.dtype, device: torch.device) -> None:
        self.n_mels, self.dtype = matrix.shape[1], dtype
        self.bands = []
        for mels in torch.arange(self.n_mels).tensor_split(min(BANDS, self.n_mels)):
            first, last = int(mels[0]), int(mels[-1]) + 1
            read = matrix[:, first:last].any(1).nonzero().flatten().tolist() or [0]
            start, stop = read[0], read[-1] + 1
            part = matrix[start:stop, first:last].to(device, dtype).contiguous()
            self.bands.append((slice(start, stop), slice(first, last), part))
        #: Bins after these are read by no filter.
        self.bins = max(bins.stop for bins, _, _ in self.bands)

    def sum(self, power: Tensor, out: Tensor) -> None:
        """`[F, bins]` -> `out` `[F, n_mels]`."""
        for bins, mels, part in self.bands:
            torch.mm(power[:, bins], part, out=out[:, mels])


@lru_cache(maxsize=32)
def hann(samples: int, periodic: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Hann window `[samples]`, computed in `dtype` on the CPU, as the stock extractors do: in cells
    near their floor even its rounding shows."""
    return torch.hann_window(samples, periodic=periodic, dtype=dtype).to(device)


@lru_cache(maxsize=32)
def slaney_filters(
    n_fft: int,
    n_mels: int,
    sample_rate_hz: int,
    low_hz: float,
    high_hz: float,
    dtype: torch.dtype,
    device: torch.device,
) -> Filters:
    """Slaney mel filters."""
    filters = mel_filter_bank(
        num_frequency_bins=1 + n_fft // 2,
        num_mel_filters=n_mels,
        min_frequency=low_hz,
        max_frequency=high_hz,
        sampling_rate=sample_rate_hz,
        norm="slaney",
        mel_scale="slaney",
    )
    return Filters(torch.from_numpy(filters), dtype, device)


def lay_out(pieces: list[list[Tensor]], hop: int) -> tuple[Tensor, list[int]]:
    """Pieces, each a list of parts `[S_ij]`, end to end.

    Returns:
        (the ribbon `[S]`, the frame that starts where each piece does).
    """
    parts, starts, frames = [], [], 0
    for piece in pieces:
        length = sum(len(part) for part in piece)
        parts += [*piece, piece[0].new_zeros(-length % hop)]
        starts.append(frames)
        frames += -(-length // hop)
    return torch.cat(parts), starts


def power_mel(
    frames: Tensor,
    window: Tensor,
    filters: Filters,
    n_fft: int | None = None,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """`[F, S]` -> mel power `[F, n_mels]` of the windowed frames.

    Args:
        frames: may be a strided view; it is read block by block.
        window: `[S]`; its type is that of the Fourier transform.
        filters: their type is that of the sum over frequencies.
        n_fft: length of the transform, at least S, which frames are filled up to; None for S.
        prepare: what is done to frames `[f, S]` before the window.
    """
    mel = frames.new_empty(len(frames), filters.n_mels, dtype=filters.dtype)
    block = CPU_BLOCK if frames.device.type == "cpu" else GPU_BLOCK
    block = max(1, block // (n_fft or len(window)))
    for start in range(0, len(frames), block):
        samples = frames[start : start + block]
        samples = prepare(samples) if prepare else samples
        spectrum = torch.fft.rfft(samples * window, n_fft)[:, : filters.bins]
        real, imaginary = torch.view_as_real(spectrum).to(filters.dtype).unbind(-1)
        power = torch.addcmul(real.square(), imaginary, imaginary)
        filters.sum(power, mel[start : start + block])
    return mel


def windowed_power_mel(
    windows: list[Tensor], window_samples: int, hop: int, window: Tensor, filters: Filters
) -> list[Tensor]:
    """Mel power of windows that are each filled up with silence, then reflected at both ends.

    Args:
        windows: `[S_i]`, 1 <= S_i <= window_samples.
        hop: samples between frames, which are centred on multiples of it.
        window: as for `power_mel`; its length is that of a frame.

    Returns:
        `[F_i, n_mels]` for each; of its 1 + window_samples // hop frames, those after the first F_i
        have power 0.
    """
    n_fft = len(window)
    half = n_fft // 2
    pieces, counts = [], []
    for samples in windows:
        # n_fft further zeros, so that the reflection at a shortened end reflects zeros only.
        length = min(window_samples, len(samples) + n_fft)
        whole = pad(samples, (0, length - len(samples))) if length > len(samples) else samples
        pieces.append([whole[1 : 1 + half].flip(0), whole, whole[-1 - half : -1].flip(0)])
        counts.append(1 + length // hop)
    ribbon, starts = lay_out(pieces, hop)
    mel = power_mel(ribbon.unfold(0, n_fft, hop), window, filters)
    return [mel[start:][:count] for start, count in zip(starts, counts, strict=True)]
