"""A clip's bytes for the shard: as they are, or as FLAC or Ogg Vorbis at a stated rate.

Design choice: the whole clip is decoded in either case, since only that shows that it is whole;
what is kept is then the file's own bytes. The same input gives the same bytes, so libsndfile's
random number in Ogg pages is replaced (a resumed conversion must give identical shards).
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
#: Each byte with its bits in reverse.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LOSSY = ("VORBIS", "OPUS", "MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")


@dataclass(frozen=True)
class Encoded:
    """Bytes of a clip and what is known of them.

    Attributes:
        seconds: decoded length.
        rate_hz, channels: of the bytes.
        clipped: samples that left the range -1..1 and were cut to it in writing.
    """

    data: bytes
    extension: str
    seconds: float
    rate_hz: int
    channels: int
    clipped: int = 0


#: What libsndfile writes.
HIGHEST_HZ = {"ogg": 200_000, "flac": 655_350}


def encode(
    data: bytes, extension: str, form: str, rate_hz: int | None, name: str = "the clip"
) -> Encoded:
    """A clip in the form of the shard.

    FLAC and OGG hold the mean of the channels, which is what models hear; FLAC has 24 bits where
    the source has more than 16.

    Args:
        data: the file.
        extension: of the file, without the dot.
        form: one of `writing.FORMATS`.
        rate_hz: of "flac" and "ogg"; None leaves the clip's own.
        name: what messages call it.

    Raises:
        AudioError: the clip is broken.
    """
    samples, own_hz, channels = decode(named(data, name))
    seconds = len(samples) / own_hz
    if form == "keep":
        return Encoded(data, extension, seconds, own_hz, channels)
    rate_hz = rate_hz or own_hz
    if rate_hz > HIGHEST_HZ[form]:  # libsndfile dies of it
        raise AudioError(
            f"{form} holds at most {HIGHEST_HZ[form]} Hz, and this would be {rate_hz}; choose a "
            "--rate, or --format keep"
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
    """An Ogg file whose stream has the serial number 0, with checksums to match (RFC 3533)."""
    pages = bytearray(data)
    for at, _, end in ogg_pages(data):
        pages[at + 14 : at + 18] = bytes(4)
        pages[at + 22 : at + 26] = bytes(4)
        pages[at + 22 : at + 26] = _checksum(pages[at:end])
    return bytes(pages)


def _resampled(samples: np.ndarray, own_hz: int, rate_hz: int) -> np.ndarray:
    if rate_hz == own_hz:
        return samples
    import torch  # not above: it takes longer to import than a shard without it takes to write

    from pal_plugin.audio.io import resample

    return resample(torch.from_numpy(samples), own_hz, rate_hz).numpy()


def _subtype(data: bytes) -> str:
    """libsndfile's name of the coding; what only PyAV reads counts as lossy."""
    try:
        return soundfile.info(io.BytesIO(data)).subtype
    except soundfile.SoundFileError:
        return _LOSSY[0]


def _checksum(page: bytes) -> bytes:
    """Ogg's CRC: zlib's with the bits of each byte in reverse, and without its inversions."""
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)
