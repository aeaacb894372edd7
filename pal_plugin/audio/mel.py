"""Batched mel power spectra in torch, on any device, shared by the front ends.

Design choice: the pieces of all clips are concatenated to one signal, each starting at a multiple
of the hop, so all frames of a batch are one strided view, whatever the clips' lengths. The few
frames that span two pieces are computed and dropped. Padding zeros are not included: frames that
only contain padding have power 0 and need no FFT.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.audio_utils import mel_filter_bank

#: Samples per block of frames. A CPU is fastest if a block fits its cache (of 2**15 to 2**20); a
#: GPU if nothing is split that fits its memory.
CPU_BLOCK, GPU_BLOCK = 2**17, 2**27
#: Groups of neighbouring mel filters; each is multiplied with only the bins that it uses, which
#: skips most zeros (best of 1 to 8 groups).
BANDS = 4


class Filters:
    """A mel filter bank; each filter uses few neighbouring bins.

    Args:
        matrix: `[bins, n_mels]` on the CPU, filters in order of frequency.
        dtype, device: dtype and device of the computation.
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
        #: Higher bins are not used by any filter.
        self.bins = max(bins.stop for bins, _, _ in self.bands)

    def sum(self, power: Tensor, out: Tensor) -> None:
        """Power `[F, bins]` -> mel power, written to `out` `[F, n_mels]`."""
        for bins, mels, part in self.bands:
            torch.mm(power[:, bins], part, out=out[:, mels])


@lru_cache(maxsize=32)
def hann(samples: int, periodic: bool, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Hann window `[samples]`, computed in `dtype` on the CPU as in the reference extractors: near
    the floor even its rounding matters."""
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
    """Slaney mel filters (scale and norm), from `low_hz` to `high_hz`."""
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
    """Concatenates pieces, each a list of parts `[S_ij]`, padded to multiples of `hop`.

    Returns:
        (the signal `[S]`, the index of the frame at the start of each piece).
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
    """Frames `[F, S]` -> mel power `[F, n_mels]` of the windowed frames.

    Args:
        frames: may be a strided view; processed in blocks.
        window: `[S]`; its dtype is that of the FFT.
        filters: their dtype is that of the sum over frequencies.
        n_fft: FFT length, at least S (frames are zero-padded); None: S.
        prepare: applied to blocks of frames `[f, S]` before windowing.
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
    """Mel power of windows, zero-padded to `window_samples`, then reflection-padded at both ends.

    Args:
        windows: `[S_i]`, 1 <= S_i <= window_samples.
        hop: hop length in samples; frames are centred on its multiples.
        window: as for `power_mel`, of the frame's length.

    Returns:
        `[F_i, n_mels]` for each; of 1 + window_samples // hop frames, those after the first F_i
        have power 0.
    """
    n_fft = len(window)
    half = n_fft // 2
    pieces, counts = [], []
    for samples in windows:
        # n_fft extra zeros, so that the reflection at a shortened end only reflects zeros.
        length = min(window_samples, len(samples) + n_fft)
        whole = pad(samples, (0, length - len(samples))) if length > len(samples) else samples
        pieces.append([whole[1 : 1 + half].flip(0), whole, whole[-1 - half : -1].flip(0)])
        counts.append(1 + length // hop)
    ribbon, starts = lay_out(pieces, hop)
    mel = power_mel(ribbon.unfold(0, n_fft, hop), window, filters)
    return [mel[start:][:count] for start, count in zip(starts, counts, strict=True)]
