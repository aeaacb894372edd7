"""Decoding without torch: anything a caller has in hand becomes one mono float array.

Design choice: audio that is broken (undecodable, cut off, empty, not finite) raises; it is never
replaced by silence and never shortened without a word. Only NumPy and the decoders are needed, so
that a process which writes shards starts in a tenth of the time that torch takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pal_plugin.audio import ffmpeg, sndfile
from pal_plugin.audio.arrays import from_array
from pal_plugin.audio.errors import AudioError, Undecodable
from pal_plugin.audio.mixing import check_length, to_mono
from pal_plugin.audio.sources import read_file, unpacked
from pal_plugin.audio.truncation import announced, ends, joined, mp3, streamed

__all__ = ["AudioError", "decode"]


def decode(source: Any) -> tuple[np.ndarray, int, int]:
    """Read one clip and mix it down to mono, the mean of its channels.

    WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF and SPHERE are read by libsndfile at any rate and with
    any number of channels; M4A, AAC and others where PyAV is installed (`ffmpeg`). A missing end is
    recognised wherever it begins, but in MP3 without an index and in bare AAC only within a frame.

    Args:
        source: a path, the bytes of a file, an open binary file, `(array, sample_rate_hz)` with an
            array `[S]`, `[channels, S]` or `[S, channels]` (the shorter side is the channels), or
            what Hugging Face's datasets give (`sources.unpacked`). Integer samples are scaled to
            -1..1 by their type's range; int64, which tells none, is refused.

    Returns:
        `(samples [S] float32, sample_rate_hz, channels of the source)`.

    Raises:
        AudioError: undecodable, cut off, empty, non-finite, or not one of the forms above. Whatever
            bytes a file holds, nothing else is raised.
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
        except Exception as error:  # decoders meet bytes that their authors did not think of
            raise AudioError(
                f"cannot decode {name}: it is broken ({type(error).__name__}: {error})"
            ) from error
    check_length(len(samples), rate_hz, name)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    return to_mono(samples, name), rate_hz, channels


def _decoded(data: bytes) -> tuple[np.ndarray, int]:
    """`(samples [S, channels] float32, rate)` of a whole file."""
    # Some put the tag of an MP3 in front of anything; libsndfile then takes it off the end.
    data = streamed.completed(data[mp3.after_tags(data) :] or data)
    if joined.holds_another(data):
        raise Undecodable(joined.SECOND_FILE)
    if ends.is_uncounted(data):
        raise Undecodable(
            "more follows its samples than its header counts; it was appended to, or never "
            "finished: `ffmpeg -i IN OUT.wav` keeps what is counted"
        )
    decoded = sndfile.decode(data)
    if decoded is None and not announced.is_known(data):
        # Tags, padding or an HTTP header may stand in front of an MP3; libsndfile looks no further.
        start = mp3.start_behind_junk(data)
        decoded = None if start is None else sndfile.decode(data[start:])
    return ffmpeg.decode(data) if decoded is None else decoded
