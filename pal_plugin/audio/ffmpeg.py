"""Decodes M4A, AAC and other formats of ffmpeg by PyAV, an optional dependency.

Design choice: only used for formats unknown to libsndfile, so that WAV, FLAC, OGG, Opus and MP3
have the same decoder on every installation. Truncation raises here, too.
"""

from __future__ import annotations

import io

import numpy as np

from pal_plugin.audio.errors import Undecodable
from pal_plugin.audio.sndfile import MOST_VALUES, too_long
from pal_plugin.audio.truncation import declared, ends, mp3

#: Containers that declare their length: in bytes (`declared`), and in packets or as a duration.
_KNOW_THEIR_BYTES = ("mov", "matroska", "asf")
_COUNT_PACKETS = ("mov",)
_KNOW_THEIR_DURATION = ("wv", "tta")
#: Plain streams of frames: only an incomplete last frame is detected.
_FRAMES_ONLY = ("aac", "amr")
#: Tolerance in seconds: durations are rounded, and may include a codec's priming samples.
_SLACK_S = 0.05


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """Decodes the first audio stream of a file.

    Returns:
        `(samples [S, channels] float32, sample_rate_hz)`.

    Raises:
        Undecodable: if PyAV is not installed, or the audio is missing, damaged or truncated.
    """
    try:
        import av
    except ImportError as error:
        raise Undecodable(
            "only WAV, FLAC, OGG, Opus and MP3 are decoded without PyAV; for M4A, AAC and other "
            "formats install it: `pip install av` (or 'pal-plugin[m4a]')"
        ) from error
    if reason := declared.problem(data):
        raise Undecodable(reason)
    if data[:4] == b"wvpk":  # tags follow the audio, where the demuxer expects a block
        end = ends.end_of(data)
        data = data[: end.at]
    try:
        # Tags are not decoded strictly, whatever their encoding.
        with av.open(io.BytesIO(data), metadata_errors="replace") as container:
            if container.format.name.startswith(_COUNT_PACKETS):
                _count(av, data)
            return _read(av, container)
    except av.error.FFmpegError as error:
        raise Undecodable(f"it is damaged, truncated or not audio ({error.strerror})") from error


def _count(av, data: bytes) -> None:
    """Checks the packets against the table of an MP4 or QuickTime file, including those that an
    edit list skips (a trimmed recording)."""
    whole = {"options": {"ignore_editlist": "1"}, "metadata_errors": "replace"}
    with av.open(io.BytesIO(data), **whole) as container:
        if not container.streams.audio:
            return  # reported by `_read`
        stream = container.streams.audio[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        # For PCM, the table counts samples.
        is_pcm = stream.codec_context.name.startswith("pcm_")
        there = sum(p.duration or 0 for p in packets) if is_pcm else len(packets)
        if there < stream.frames:
            unit = "samples" if is_pcm else "packets"
            raise Undecodable(f"it is truncated: expected {stream.frames} {unit}, got {there}")


def _read(av, container) -> tuple[np.ndarray, int]:
    if not container.streams.audio:
        raise Undecodable("it has no audio stream")
    kind = container.format.name
    if not kind.startswith(_KNOW_THEIR_BYTES + _KNOW_THEIR_DURATION + _FRAMES_ONLY):
        raise Undecodable(f"truncation cannot be detected in {kind}; convert it to WAV or FLAC")
    stream = container.streams.audio[0]
    to_float = av.AudioResampler(format="fltp")
    blocks, end_s, values, first = [], 0.0, 0, None
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise Undecodable(f"it is truncated or damaged after {end_s:.2f} s")
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
        declared_s = container.duration / av.time_base
        if end_s < declared_s - _SLACK_S:
            raise Undecodable(f"it is truncated: expected {declared_s:.2f} s, got {end_s:.2f} s")
    if not blocks:
        raise Undecodable("its audio stream is empty")
    return np.concatenate(blocks, axis=1).T, first[0]
