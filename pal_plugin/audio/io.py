"""Decoding and resampling: anything a caller has in hand becomes one mono float waveform.

Design choice: audio that is broken (undecodable, cut off, empty, not finite) raises; it is never
replaced by silence and never shortened without a word.
"""

from __future__ import annotations

import io
import os
from functools import lru_cache
from math import gcd
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio
from torch import Tensor

# Kernel elements of torchaudio's resampler (reduced rates' product): 2**25 float32 are 128 MiB.
# Rates without a large common divisor (11111 -> 16000 Hz) would need gigabytes.
_MAX_KERNEL = 2**25


class AudioError(ValueError):
    """Audio that cannot be used; the message says which, why, and what to do."""


def load_audio(source: Any) -> tuple[Tensor, int]:
    """Read one clip and mix it down to mono.

    Args:
        source: a path, the bytes of a file, an open binary file, or `(array, sample_rate_hz)`
            with an array or tensor `[S]`, `[channels, S]` or `[S, channels]` (the shorter side
            is the channels). Integer samples are scaled to -1..1 by their type's range.

    Returns:
        `(waveform [S] float32, sample_rate_hz)`.

    Raises:
        AudioError: undecodable, cut off, empty, non-finite, or not one of the forms above.
    """
    if isinstance(source, tuple | list) and len(source) == 2:
        samples, rate_hz, name = *_from_array(*source), "the array"
    else:
        samples, rate_hz, name = _from_file(source)
    if samples.size == 0:
        raise AudioError(f"{name} holds no samples; expected at least one")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(
            f"{name} holds {bad} non-finite samples of {samples.size}; "
            "repair or drop the clip, it cannot be listened to"
        )
    mono = samples if samples.ndim == 1 else samples.mean(axis=1)
    return torch.from_numpy(np.ascontiguousarray(mono, dtype=np.float32)), rate_hz


def _from_array(array: Any, rate_hz: Any) -> tuple[np.ndarray, int]:
    """`(samples [S] or [S, channels] float32, rate)`."""
    if np.ndim(array) == 0 and np.ndim(rate_hz) > 0:
        raise AudioError("expected (array, sample_rate_hz), got (number, array): swap the two")
    if not isinstance(rate_hz, Real) or rate_hz <= 0 or rate_hz != int(rate_hz):
        raise AudioError(f"sample_rate_hz must be a positive whole number, got {rate_hz!r}")
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    samples = np.asarray(array)
    if samples.ndim not in (1, 2):
        raise AudioError(
            f"expected an array [S], [channels, S] or [S, channels], got shape {samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif np.issubdtype(samples.dtype, np.signedinteger):
        samples = samples / float(-np.iinfo(samples.dtype).min)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(f"expected float, signed integer or uint8 samples, got {samples.dtype}")
    return samples.astype(np.float32), int(rate_hz)


def _from_file(source: Any) -> tuple[np.ndarray, int, str]:
    """`(samples [S, channels] float32, rate, name for messages)`."""
    if isinstance(source, str | os.PathLike):
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise AudioError(f"cannot open {name}: {error}") from error
    elif isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), f"audio of {len(source)} bytes"
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "the open file"))
        data = source.read()
        if not isinstance(data, bytes):
            raise AudioError(f"{name} is open as text; open it in binary mode ('rb')")
    else:
        raise AudioError(
            "expected a path, bytes, a binary file or (array, sample_rate_hz), "
            f"got {type(source).__name__}"
        )
    if not data:
        raise AudioError(f"{name} is empty (0 bytes)")
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            announced, rate_hz = sound.frames, sound.samplerate
            samples = sound.read(dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"cannot decode {name}: {error}. WAV, FLAC, OGG, Opus and MP3 are read; "
            "convert other formats first"
        ) from error
    if len(samples) < announced or _is_cut_off(data):
        raise AudioError(
            f"{name} is cut off: {len(samples) / rate_hz:.2f} s decode, but its header or last "
            "page announces more. Fetch the file again, or re-encode it to keep what is left"
        )
    return samples, rate_hz, name


def _is_cut_off(data: bytes) -> bool:
    """True where the container itself says that bytes are missing at the end.

    Known here: WAV, AIFF, AU and OGG, which libsndfile reads short without an error. It raises
    for FLAC itself, and announces the full length of an MP3 with a Xing header.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        at = 12
        while at + 8 <= len(data):
            kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
            if kind == b"data":
                # 0 and the top of the range: a stream whose writer could not know its length.
                return 0 < size < 0x7FFFF000 and at + 8 + size > len(data)
            at += 8 + size + size % 2
    elif data[:4] == b"FORM":
        return 8 + int.from_bytes(data[4:8], "big") > len(data)
    elif data[:4] == b".snd":
        start, size = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
        return size != 0xFFFFFFFF and start + size > len(data)
    elif data[:4] == b"OggS":
        page = data.rfind(b"OggS")
        if page + 27 > len(data):
            return True
        end_of_stream = data[page + 5] & 4
        segments = data[page + 27 : page + 27 + data[page + 26]]
        return not end_of_stream or page + 27 + data[page + 26] + sum(segments) > len(data)
    return False


@lru_cache(maxsize=16)
def _resampler(from_hz: int, to_hz: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(from_hz, to_hz)


def resample(waveform: Tensor, from_hz: int, to_hz: int) -> Tensor:
    """Band-limited resampling of `[S]` to `[ceil(S * to_hz / from_hz)]`.

    torchaudio's windowed sinc (kernel kept per pair of rates); rates with hardly a common
    divisor, whose kernel would take gigabytes, are resampled in the frequency domain.
    """
    if from_hz == to_hz:
        return waveform
    common = gcd(from_hz, to_hz)
    if (from_hz // common) * (to_hz // common) <= _MAX_KERNEL:
        return _resampler(from_hz, to_hz)(waveform)
    # Whole seconds make both lengths whole; the extra second keeps the ends from meeting.
    seconds = -(-waveform.numel() // from_hz) + 1
    padded = torch.nn.functional.pad(waveform, (0, seconds * from_hz - waveform.numel()))
    spectrum = torch.fft.rfft(padded.double())
    bins = seconds * min(from_hz, to_hz) // 2
    kept = torch.zeros(seconds * to_hz // 2 + 1, dtype=spectrum.dtype)
    kept[:bins] = spectrum[:bins]
    resampled = torch.fft.irfft(kept, n=seconds * to_hz) * (to_hz / from_hz)
    return resampled[: -(-waveform.numel() * to_hz // from_hz)].to(waveform.dtype)
