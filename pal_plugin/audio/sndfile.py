"""Decodes WAV, FLAC, OGG, Opus, MP3 and related formats by libsndfile.

Design choice: samples are read in blocks, so that a declared length is never allocated in advance,
and no file is decoded partially: truncated or concatenated files raise.
"""

from __future__ import annotations

import io

import numpy as np

from pal_plugin.audio.errors import Undecodable
from pal_plugin.audio.truncation import ends, mp3, whole
from pal_plugin.utils.interrupts import held_interrupts

#: Containers whose truncation is detected; libsndfile supports more.
CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3")
#: Maximum number of values of a clip, over all channels: 4 GiB, six hours of mono at 48 kHz.
MOST_VALUES = 2**30
_UNKNOWN_FORMAT = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_LONGEST = 2**62  # libsndfile returns 2**63 - 1 frames for FLAC streams of undeclared length
_BLOCK = 2**24  # values per block, enough for a clip of minutes
#: soundfile seeks after each block, which resets these decoders' state. So files are read in one
#: block, of at most this many frames per byte (the most that silence compresses to).
_IN_ONE = {"OGG": 4096, "MP3": 64}


class _File(io.BytesIO):
    """A file in memory; libsndfile may seek anywhere a damaged header points to."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (OverflowError, ValueError):  # a callback's exception would only be printed
            return super().seek(0, io.SEEK_END)


@held_interrupts()  # soundfile's callbacks would lose them
def decode(data: bytes) -> tuple[np.ndarray, int] | None:
    """Decodes a whole file.

    Returns:
        `(samples [S, channels] float32, sample_rate_hz)`; None if libsndfile does not know the
        format.

    Raises:
        Undecodable: if the file is damaged, truncated, several files in one, or too long.
    """
    import soundfile  # lazy: callers with arrays do not need libsndfile

    if data[:4] in (b"riff", b"NIST"):  # libsndfile would read trailing data as samples
        end = ends.end_of(data)
        data = data[: end.at] if end.is_known else data
    try:
        with soundfile.SoundFile(_File(data)) as sound:
            container, subtype = sound.format, sound.subtype
    except soundfile.LibsndfileError as error:
        if error.code == _UNKNOWN_FORMAT:
            return None
        raise Undecodable(error.error_string) from error
    if container not in CONTAINERS:
        raise Undecodable(
            f"truncation cannot be detected in {container}; convert it to WAV or FLAC"
        )
    data, truncated = mp3.prepare(data) if container == "MP3" else (data, whole.is_truncated(data))
    try:
        links = whole.ogg_links(data) if container == "OGG" else [data]
        parts = [_read(link) for link in links]
    except soundfile.LibsndfileError as error:
        raise Undecodable(error.error_string) from error
    samples, declared, rate_hz = parts[0]
    if len(parts) > 1:
        if any(part.shape[1] != samples.shape[1] or hz != rate_hz for part, _, hz in parts):
            raise Undecodable(mp3.CHANGES)
        samples = np.concatenate([part for part, _, _ in parts])
        declared = sum(frames for _, frames, _ in parts)
    # libsndfile only estimates the length of MPEG layer I and II, and of MPEG audio in WAV.
    known = not subtype.startswith("MPEG") or (container, subtype) == ("MP3", "MPEG_LAYER_III")
    if truncated or (known and len(samples) < declared):
        raise Undecodable(
            f"it is truncated: {len(samples) / rate_hz:.2f} s decode, but its header or last page "
            "declares more. Download it again, or re-encode it to keep what is left"
        )
    return samples, rate_hz


def _read(data: bytes) -> tuple[np.ndarray, int, int]:
    """Reads `(samples [S, channels] float32, declared frames, rate in Hz)`."""
    import soundfile

    with soundfile.SoundFile(_File(data)) as sound:
        if sound.frames > _LONGEST:
            raise Undecodable("its header does not declare a length; rewrite it to a file")
        most, blocks, left = MOST_VALUES // sound.channels, [], sound.frames
        block = max(1, _BLOCK // sound.channels)
        if sound.format in _IN_ONE:
            block = min(most + 1, _IN_ONE[sound.format] * len(data))
        while left > 0:
            # The number of frames is explicit because libsndfile cannot seek in GSM and G.721.
            asked = min(left, block)
            blocks.append(sound.read(asked, dtype="float32", always_2d=True))
            left -= len(blocks[-1])
            if sound.frames - left > most:
                raise too_long(sound.samplerate, sound.channels)
            if len(blocks[-1]) < asked:
                break
        empty = np.zeros((0, sound.channels), np.float32)
        samples = blocks[0] if len(blocks) == 1 else np.concatenate([empty, *blocks])
        return samples, sound.frames, sound.samplerate


def too_long(rate_hz: int, channels: int) -> Undecodable:
    """The error for a file beyond the maximum length."""
    hours = MOST_VALUES / channels / rate_hz / 3600
    return Undecodable(
        f"it is longer than {hours:.2f} hours, the maximum for {channels} channels at "
        f"{rate_hz} Hz; split it into clips"
    )
