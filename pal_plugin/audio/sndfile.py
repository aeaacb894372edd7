"""WAV, FLAC, OGG, Opus, MP3 and their kin by libsndfile, to their very end.

Design choice: samples are read in blocks, so that what a header announces is never allocated before
it is there, and a file is not heard in part: one that ends early, or behind which another one
begins, raises.
"""

from __future__ import annotations

import io

import numpy as np

from pal_plugin.audio.errors import Undecodable
from pal_plugin.audio.truncation import ends, mp3, whole

#: Containers in which a missing end is recognised; libsndfile knows more.
CONTAINERS = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3")
#: Values of a clip, in all its channels: 4 GiB, six hours of one channel at 48 kHz.
MOST_VALUES = 2**30
_UNKNOWN_FORMAT = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_LONGEST = 2**62  # libsndfile gives 2**63 - 1 frames where a FLAC stream does not say
_BLOCK = 2**24  # values: one block holds a clip of minutes
#: soundfile seeks after each block, and these decoders then lose what they remember of the samples
#: before. So they are read at once, at most as many frames as bytes of silence can stand for.
_IN_ONE = {"OGG": 4096, "MP3": 64}


class _File(io.BytesIO):
    """A file in memory; libsndfile seeks wherever a broken header points to."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except (OverflowError, ValueError):  # in a callback: they would be printed, not raised
            return super().seek(0, io.SEEK_END)


def decode(data: bytes) -> tuple[np.ndarray, int] | None:
    """The samples of a whole file.

    Returns:
        `(samples [S, channels] float32, sample_rate_hz)`; None where libsndfile does not know the
        format.

    Raises:
        Undecodable: broken, cut off, several files in one, or too long to hold.
    """
    import soundfile  # not above: whoever gives arrays needs no libsndfile

    if data[:4] in (b"riff", b"NIST"):  # it would take what follows for samples
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
            f"in {container} a missing end is not recognised; convert it to WAV or FLAC"
        )
    data, cut_off = mp3.prepare(data) if container == "MP3" else (data, whole.is_cut_off(data))
    try:
        links = whole.ogg_links(data) if container == "OGG" else [data]
        parts = [_read(link) for link in links]
    except soundfile.LibsndfileError as error:
        raise Undecodable(error.error_string) from error
    samples, announced, rate_hz = parts[0]
    if len(parts) > 1:
        if any(part.shape[1] != samples.shape[1] or hz != rate_hz for part, _, hz in parts):
            raise Undecodable(mp3.CHANGES)
        samples = np.concatenate([part for part, _, _ in parts])
        announced = sum(frames for _, frames, _ in parts)
    # The length of a layer I or II file, and of MPEG audio in a WAV, is libsndfile's guess.
    known = not subtype.startswith("MPEG") or (container, subtype) == ("MP3", "MPEG_LAYER_III")
    if cut_off or (known and len(samples) < announced):
        raise Undecodable(
            f"it is cut off: {len(samples) / rate_hz:.2f} s decode, but its header or last page "
            "announces more. Fetch the file again, or re-encode it to keep what is left"
        )
    return samples, rate_hz


def _read(data: bytes) -> tuple[np.ndarray, int, int]:
    """`(samples [S, channels] float32, frames announced, rate)`."""
    import soundfile

    with soundfile.SoundFile(_File(data)) as sound:
        if sound.frames > _LONGEST:
            raise Undecodable("its header does not say how long it is; write it to a file again")
        most, blocks, left = MOST_VALUES // sound.channels, [], sound.frames
        block = max(1, _BLOCK // sound.channels)
        if sound.format in _IN_ONE:
            block = min(most + 1, _IN_ONE[sound.format] * len(data))
        while left > 0:
            # The number of frames is named because libsndfile cannot seek in GSM and G.721.
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
    hours = MOST_VALUES / channels / rate_hz / 3600
    return Undecodable(
        f"it is longer than {hours:.2f} hours, the most that is held of {channels} channels at "
        f"{rate_hz} Hz; cut it into clips"
    )
