"""Encodes a clip for a shard: original bytes, or FLAC or Ogg Vorbis at a given rate.

Design choice: the whole clip is always decoded, since only that proves it intact, even where the
original bytes are kept. Encoding is deterministic: libsndfile's random serial number in Ogg pages
is replaced (a resumed conversion must give identical shards).
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass

import numpy as np
import soundfile

from pal_plugin.audio.decoding import AudioError, decode
from pal_plugin.audio.sources import named
from pal_plugin.audio.truncation.whole import ogg_pages

_BLOCK = 2**16  # samples; libsndfile's Vorbis encoder overflows its stack on long blocks
_INTEGERS = ("PCM_S8", "PCM_U8", "PCM_16")
#: Each byte with its bits reversed.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")


@dataclass(frozen=True)
class Encoded:
    """An encoded clip.

    Attributes:
        data: the encoded bytes.
        extension: file extension, without the dot.
        seconds: decoded length in seconds.
        rate_hz, channels: format of `data`.
        clipped: number of samples outside -1..1, clipped on encoding.
    """

    data: bytes
    extension: str
    seconds: float
    rate_hz: int
    channels: int
    clipped: int = 0


#: Highest sampling rate that libsndfile writes, in Hz.
HIGHEST_HZ = {"ogg": 200_000, "flac": 655_350}


def encode(
    data: bytes, extension: str, form: str, rate_hz: int | None, name: str = "the clip"
) -> Encoded:
    """Encodes a clip for a shard.

    FLAC and Ogg are mono (the mean of the channels, as models use it); FLAC has 24 bits if the
    source has more than 16.

    Args:
        data: the file content.
        extension: extension of the file, without the dot.
        form: one of `writing.FORMATS`.
        rate_hz: sampling rate for "flac" and "ogg"; None keeps the clip's own.
        name: name used in error messages.

    Raises:
        AudioError: if the clip cannot be decoded, or the format does not support the rate.
    """
    samples, own_hz, channels = decode(named(data, name))
    seconds = len(samples) / own_hz
    if form == "keep":
        return Encoded(data, extension, seconds, own_hz, channels)
    rate_hz = rate_hz or own_hz
    if rate_hz > HIGHEST_HZ[form]:  # libsndfile crashes
        raise AudioError(
            f"{form} supports at most {HIGHEST_HZ[form]} Hz, got {rate_hz}; set a lower --rate, "
            "or use --format keep"
        )
    samples = _resampled(samples, own_hz, rate_hz)
    clipped = int((np.abs(samples) > 1).sum())
    out = io.BytesIO()
    kind = "VORBIS" if form == "ogg" else "PCM_16"
    if form == "flac" and _subtype(data) not in (*_INTEGERS, *_LOSSY):
        kind = "PCM_24"
    with soundfile.SoundFile(out, "w", rate_hz, 1, kind, format=form.upper()) as file:
        for start in range(0, len(samples), _BLOCK):
            file.write(np.clip(samples[start : start + _BLOCK], -1, 1))
    written = out.getvalue()
    if form == "ogg":
        written = without_serial(written)
    return Encoded(written, form, len(samples) / rate_hz, rate_hz, 1, clipped)


def without_serial(data: bytes) -> bytes:
    """An Ogg file with the stream serial number set to 0 and checksums updated (RFC 3533)."""
    pages = bytearray(data)
    for at, _, end in ogg_pages(data):
        pages[at + 14 : at + 18] = bytes(4)
        pages[at + 22 : at + 26] = bytes(4)
        pages[at + 22 : at + 26] = _checksum(pages[at:end])
    return bytes(pages)


def _resampled(samples: np.ndarray, own_hz: int, rate_hz: int) -> np.ndarray:
    if rate_hz == own_hz:
        return samples
    import torch  # lazy: importing it takes longer than writing a shard without resampling

    from pal_plugin.audio.io import resample

    return resample(torch.from_numpy(samples), own_hz, rate_hz).numpy()


def _subtype(data: bytes) -> str:
    """libsndfile's subtype; files that only PyAV reads count as lossy."""
    try:
        return soundfile.info(io.BytesIO(data)).subtype
    except soundfile.SoundFileError:
        return _LOSSY[0]


def _checksum(page: bytes) -> bytes:
    """Ogg's CRC: zlib's with the bits of each byte reversed, and without its inversions."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)
