"""M4A, AAC and whatever else ffmpeg reads, by PyAV, which is an optional dependency.

Design choice: only files whose format libsndfile does not know come here, so that WAV, FLAC, OGG,
Opus and MP3 have one decoder wherever the package runs. A missing end raises here too.
"""

from __future__ import annotations

import io

import numpy as np

from pal_plugin.audio.errors import Undecodable
from pal_plugin.audio.sndfile import MOST_VALUES, too_long
from pal_plugin.audio.truncation import announced, ends, mp3

#: Containers that say how long they are: in bytes (`announced`), and in packets or as a duration.
_KNOW_THEIR_BYTES = ("mov", "matroska", "asf")
_COUNT_PACKETS = ("mov",)
_KNOW_THEIR_DURATION = ("wv", "tta")
#: Streams of frames and nothing else: a last frame that is incomplete is recognised.
_FRAMES_ONLY = ("aac", "amr")
#: Durations are rounded, and may include a codec's lead-in.
_SLACK_S = 0.05


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """The first audio stream of a file.

    Returns:
        `(samples [S, channels] float32, sample_rate_hz)`.

    Raises:
        Undecodable: PyAV is not installed, or the audio is absent, broken or cut off.
    """
    try:
        import av
    except ImportError as error:
        raise Undecodable(
            "WAV, FLAC, OGG, Opus and MP3 are read without it; M4A, AAC and other formats need "
            "PyAV: `pip install av` (or 'pal-plugin[m4a]')"
        ) from error
    if reason := announced.problem(data):
        raise Undecodable(reason)
    if data[:4] == b"wvpk":  # its tags stand behind, where the demuxer looks for a block
        end = ends.end_of(data)
        data = data[: end.at]
    try:
        # Tags are not heard, whatever they are written in.
        with av.open(io.BytesIO(data), metadata_errors="replace") as container:
            if container.format.name.startswith(_COUNT_PACKETS):
                _count(av, data)
            return _read(av, container)
    except av.error.FFmpegError as error:
        raise Undecodable(f"it is broken, cut off or no audio ({error.strerror})") from error


def _count(av, data: bytes) -> None:
    """Compare the packets that are there with the table of a MP4 or QuickTime file, also those that
    an edit list leaves out (a trimmed recording)."""
    whole = {"options": {"ignore_editlist": "1"}, "metadata_errors": "replace"}
    with av.open(io.BytesIO(data), **whole) as container:
        if not container.streams.audio:
            return  # told by `_read`
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        # What a table counts of PCM is samples.
        is_pcm = stream.codec_context.name.startswith("pcm_")
        there = sum(p.duration or 0 for p in packets) if is_pcm else len(packets)
        if there < stream.frames:
            unit = "samples" if is_pcm else "packets"
            raise Undecodable(f"it is cut off: {there} of {stream.frames} {unit} are there")


def _read(av, container) -> tuple[np.ndarray, int]:
    if not container.streams.audio:
        raise Undecodable("it holds no audio stream")
    kind = container.format.name
    if not kind.startswith(_KNOW_THEIR_BYTES + _KNOW_THEIR_DURATION + _FRAMES_ONLY):
        raise Undecodable(f"in {kind} a missing end is not recognised; convert it to WAV or FLAC")
    stream = container.streams.audio[0]
    to_float = av.AudioResampler(format="fltp")
    blocks, end_s, values, first = [], 0.0, 0, None
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Undecodable(f"it is cut off or broken after {end_s:.2f} s")
        for frame in packet.decode():
            form = (frame.sample_rate, frame.layout.nb_channels)
            first = first or form
            if form != first:
                raise Undecodable(mp3.CHANGES)
            values += frame.samples * first[1]
            if values > MOST_VALUES:
                raise too_long(*first)
            end_s = max(end_s, (frame.time or 0.0) + frame.samples / frame.sample_rate)
            blocks += [part.to_ndarray() for part in to_float.resample(frame)]
    blocks += [part.to_ndarray() for part in to_float.resample(None)]
    if kind.startswith(_KNOW_THEIR_DURATION) and container.duration:
        announced_s = container.duration / av.time_base
        if end_s < announced_s - _SLACK_S:
            raise Undecodable(f"it is cut off: {end_s:.2f} s of {announced_s:.2f} s decode")
    if not blocks:
        raise Undecodable("its audio stream is empty")
    return np.concatenate(blocks, axis=1).T, first[0]
