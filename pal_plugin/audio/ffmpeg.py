"""M4A, AAC and whatever else ffmpeg reads, by PyAV, which is an optional dependency.

Design choice: only files whose format libsndfile does not know come here, so that WAV, FLAC, OGG,
Opus and MP3 have one decoder wherever the package runs. A missing end raises here too.
"""

from __future__ import annotations

import io

import numpy as np

from pal_plugin.audio.truncation import announced

#: Containers that say how long they are: in bytes (`announced`), and in packets or as a duration.
_KNOW_THEIR_BYTES = ("mov", "matroska", "asf")
_COUNT_PACKETS = ("mov",)
_KNOW_THEIR_DURATION = ("wv", "tta")
#: Streams of frames and nothing else: a last frame that is incomplete is recognised.
_FRAMES_ONLY = ("aac", "amr")
#: Durations are rounded, and may include a codec's lead-in.
_SLACK_S = 0.05


class FfmpegError(ValueError):
    """What ffmpeg could not read, or that it is not installed."""


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """The first audio stream of a file.

    Returns:
        `(samples [S, channels] float32, sample_rate_hz)`.

    Raises:
        FfmpegError: PyAV is not installed, or the audio is absent, broken or cut off.
    """
    try:
        import av
    except ImportError as error:
        raise FfmpegError(
            "WAV, FLAC, OGG, Opus and MP3 are read without it; M4A, AAC and other formats need "
            "PyAV: `pip install av` (or 'pal-plugin[m4a]')"
        ) from error
    if reason := announced.problem(data):
        raise FfmpegError(reason)
    try:
        with av.open(io.BytesIO(data)) as container:
            return _read(av, container)
    except av.error.FFmpegError as error:
        raise FfmpegError(f"it is broken, cut off or no audio ({error.strerror})") from error


def _read(av, container) -> tuple[np.ndarray, int]:
    if not container.streams.audio:
        raise FfmpegError("it holds no audio stream")
    kind = container.format.name
    if not kind.startswith(_KNOW_THEIR_BYTES + _KNOW_THEIR_DURATION + _FRAMES_ONLY):
        raise FfmpegError(f"in {kind} a missing end is not recognised; convert it to WAV or FLAC")
    stream = container.streams.audio[0]
    to_float = av.AudioResampler(format="fltp")
    blocks, packets, end_s = [], 0, 0.0
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise FfmpegError(f"it is cut off or broken after {end_s:.2f} s")
        packets += packet.size > 0
        for frame in packet.decode():
            end_s = max(end_s, (frame.time or 0.0) + frame.samples / frame.sample_rate)
            blocks += [part.to_ndarray() for part in to_float.resample(frame)]
    blocks += [part.to_ndarray() for part in to_float.resample(None)]
    if kind.startswith(_COUNT_PACKETS) and packets < stream.frames:
        raise FfmpegError(f"it is cut off: {packets} of {stream.frames} packets are there")
    if kind.startswith(_KNOW_THEIR_DURATION) and container.duration:
        announced_s = container.duration / av.time_base
        if end_s < announced_s - _SLACK_S:
            raise FfmpegError(f"it is cut off: {end_s:.2f} s of {announced_s:.2f} s decode")
    if not blocks:
        raise FfmpegError("its audio stream is empty")
    return np.concatenate(blocks, axis=1).T, stream.rate
