"""Decodes any supported audio source to a mono float array, without torch.

Design choice: broken audio (undecodable, truncated, empty, non-finite) raises; it is never replaced
by silence or silently shortened. Only needs NumPy and the decoders, so that a process that writes
shards starts in a tenth of the time that importing torch takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pal_plugin.audio import ffmpeg, sndfile
from pal_plugin.audio.arrays import from_array
from pal_plugin.audio.errors import AudioError, Undecodable
from pal_plugin.audio.mixing import check_length, to_mono
from pal_plugin.audio.sources import read_file, unpacked
from pal_plugin.audio.truncation import declared, ends, joined, mp3, streamed

__all__ = ["AudioError", "decode"]


def decode(source: Any) -> tuple[np.ndarray, int, int]:
    """Decodes one clip and mixes it down to mono, the mean of its channels.

    WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF and SPHERE are decoded by libsndfile, with any rate and
    number of channels; M4A, AAC and others if PyAV is installed (`ffmpeg`). Truncation is detected
    at any point, except in MP3 without an index and raw AAC, where only a cut within a frame is.

    Args:
        source: a path, the bytes of a file, an open binary file, `(array, sample_rate_hz)` with an
            array `[S]`, `[channels, S]` or `[S, channels]` (the shorter axis is channels), or an
            audio value of Hugging Face datasets (`sources.unpacked`). Integer samples are scaled to
            -1..1 by their type's range; int64 is rejected, since its range is unknown.

    Returns:
        `(samples [S] float32, sample_rate_hz, number of channels of the source)`.

    Raises:
        AudioError: if the source is undecodable, truncated, empty, non-finite or unsupported.
            Nothing else is raised, whatever a file's content.
    """
    source = unpacked(source)
    if isinstance(source, tuple | list) and len(source) == 2:
        samples, rate_hz, name = *from_array(*source), "the array"
    else:
        data, name = read_file(source)
        try:
            samples, rate_hz = _decoded(data)
        except Undecodable as error:
            raise AudioError(f"cannot decode {name}: {error}") from error
        except ImportError:
            raise
        except Exception as error:  # decoders may fail in any way on malformed input
            raise AudioError(
                f"cannot decode {name}: it is damaged ({type(error).__name__}: {error})"
            ) from error
    check_length(len(samples), rate_hz, name)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return to_mono(samples, name), rate_hz, channels


def _decoded(data: bytes) -> tuple[np.ndarray, int]:
    """Decodes a file to `(samples [S, channels] float32, rate in Hz)`."""
    # Some writers prepend MP3 (ID3) tags to any format; libsndfile then drops as much from the end.
    data = streamed.completed(data[mp3.after_tags(data) :] or data)
    if joined.holds_another(data):
        raise Undecodable(joined.SECOND_FILE)
    if ends.is_uncounted(data):
        raise Undecodable(
            "there is more data after its samples than its header declares; it was appended to, "
            "or never finalized: `ffmpeg -i IN OUT.wav` keeps the declared part"
        )
    decoded = sndfile.decode(data)
    if decoded is None and not declared.is_known(data):
        # Tags, padding or an HTTP header may precede an MP3; libsndfile does not skip them.
        start = mp3.start_behind_junk(data)
        decoded = None if start is None else sndfile.decode(data[start:])
    return ffmpeg.decode(data) if decoded is None else decoded
