"""Decoding without torch: anything a caller has in hand becomes one mono float array.

Design choice: audio that is broken (undecodable, cut off, empty, not finite) raises; it is never
replaced by silence and never shortened without a word. Only NumPy and the decoders are needed, so
that a process which writes shards starts in a tenth of the time that torch takes.
"""

from __future__ import annotations

import io
import os
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from pal_plugin.audio import ffmpeg
from pal_plugin.audio.truncation import mp3, whole
from pal_plugin.utils.errors import UserError

#: Containers in which a missing end is recognised; libsndfile knows more.
_READ = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3")
_UNKNOWN_FORMAT = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
_LONGEST = 2**62  # libsndfile gives 2**63 - 1 frames where a FLAC stream does not say


class AudioError(UserError, ValueError):
    """Audio that cannot be used; the message says which, why, and what to do."""


def is_one_clip(audio: Any) -> bool:
    """Whether `audio` is a clip as `load_audio` takes it: a path, bytes, an open file, or an
    `(array, rate)` pair; otherwise it holds clips."""
    if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    pair = isinstance(audio, tuple | list) and len(audio) == 2 and isinstance(audio[1], Real)
    return pair or hasattr(audio, "read")


def decode(source: Any) -> tuple[np.ndarray, int, int]:
    """Read one clip and mix it down to mono, the mean of its channels.

    WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF and SPHERE are read by libsndfile at any rate and with
    any number of channels; M4A, AAC and others where PyAV is installed (`ffmpeg`). A missing end is
    recognised wherever it begins, but in MP3 without an index and in bare AAC only within a frame.

    Args:
        source: a path, the bytes of a file, an open binary file, or `(array, sample_rate_hz)`
            with an array `[S]`, `[channels, S]` or `[S, channels]` (the shorter side is the
            channels). Integer samples are scaled to -1..1 by their type's range; int64, which
            tells none, is refused.

    Returns:
        `(samples [S] float32, sample_rate_hz, channels of the source)`.

    Raises:
        AudioError: undecodable, cut off, empty, non-finite, or not one of the forms above.
    """
    if isinstance(source, tuple | list) and len(source) == 2:
        samples, rate_hz, name = *_from_array(*source), "the array"
    else:
        data, name = read_file(source)
        samples, rate_hz = _decoded(data, name)
    if samples.size == 0:
        raise AudioError(f"{name} holds no samples; expected at least one")
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(
            f"{name} holds {bad} non-finite samples of {samples.size}; "
            "repair or drop the clip, it cannot be listened to"
        )
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return np.ascontiguousarray(_mono(samples), dtype=np.float32), rate_hz, channels


def _mono(samples: np.ndarray) -> np.ndarray:
    """The mean of the channels; by columns, as NumPy's mean over a short axis takes as long as
    decoding FLAC."""
    if samples.ndim == 1:
        return samples
    mono = samples[:, 0].copy()
    for channel in range(1, samples.shape[1]):
        mono += samples[:, channel]
    return mono / samples.shape[1] if samples.shape[1] > 1 else mono


def _from_array(array: Any, rate_hz: Any) -> tuple[np.ndarray, int]:
    """`(samples [S] or [S, channels] float32, rate)`."""
    if np.ndim(array) == 0 and np.ndim(rate_hz) > 0:
        raise AudioError("expected (array, sample_rate_hz), got (number, array): swap the two")
    if not isinstance(rate_hz, Real) or rate_hz <= 0 or rate_hz != int(rate_hz):
        raise AudioError(f"sample_rate_hz must be a positive whole number, got {rate_hz!r}")
    samples = np.asarray(array)
    if samples.ndim not in (1, 2):
        raise AudioError(
            f"expected an array [S], [channels, S] or [S, channels], got shape {samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype in (np.int8, np.int16, np.int32):
        samples = samples / float(-np.iinfo(samples.dtype).min)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"expected float samples in -1..1, or int16, int32, int8 or uint8, got {samples.dtype} "
            "(as a list of int is); its range is unknown: convert it, samples.astype('int16') for "
            "samples of 16 bits"
        )
    return samples.astype(np.float32), int(rate_hz)


def read_file(source: Any) -> tuple[bytes, str]:
    """The bytes of a path, an open binary file or bytes, and what messages call them.

    Raises:
        AudioError: it cannot be read, is empty, or is none of these.
    """
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
    return data, name


def _decoded(data: bytes, name: str) -> tuple[np.ndarray, int]:
    """`(samples [S, channels] float32, rate)` of a whole file."""
    import soundfile  # not above: whoever gives arrays needs no libsndfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as sound:
            container, subtype = sound.format, sound.subtype
    except soundfile.LibsndfileError as error:
        if error.code != _UNKNOWN_FORMAT:
            raise _undecodable(name, error) from error
        try:
            return ffmpeg.decode(data)
        except ffmpeg.FfmpegError as reason:
            raise _undecodable(name, reason) from reason
    if container not in _READ:
        raise AudioError(
            f"cannot decode {name}: in {container} a missing end is not recognised; convert it to "
            "WAV or FLAC"
        )
    data, cut_off = mp3.prepare(data) if container == "MP3" else (data, whole.is_cut_off(data))
    try:
        links = whole.ogg_links(data) if container == "OGG" else [data]
        parts = [_read(link) for link in links]
    except (soundfile.SoundFileError, AudioError) as error:
        raise _undecodable(name, error) from error
    samples, announced, rate_hz = parts[0]
    if len(parts) > 1:
        if any(part.shape[1] != samples.shape[1] or hz != rate_hz for part, _, hz in parts):
            raise AudioError(f"{name} changes its rate or channels on the way; split the file")
        samples = np.concatenate([part for part, _, _ in parts])
        announced = sum(frames for _, frames, _ in parts)
    # The length of a layer I or II file is libsndfile's guess.
    known = container != "MP3" or subtype == "MPEG_LAYER_III"
    if cut_off or (known and len(samples) < announced):
        raise AudioError(
            f"{name} is cut off: {len(samples) / rate_hz:.2f} s decode, but its header or last "
            "page announces more. Fetch the file again, or re-encode it to keep what is left"
        )
    return samples, rate_hz


def _read(data: bytes) -> tuple[np.ndarray, int, int]:
    """`(samples [S, channels] float32, frames announced, rate)`."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        if sound.frames > _LONGEST:
            raise AudioError("its header does not say how long it is; write it to a file again")
        # The number of frames is named because libsndfile cannot seek in GSM and G.721.
        samples = sound.read(sound.frames, dtype="float32", always_2d=True)
        return samples, sound.frames, sound.samplerate


def _undecodable(name: str, reason: Exception) -> AudioError:
    return AudioError(f"cannot decode {name}: {getattr(reason, 'error_string', reason)}")
