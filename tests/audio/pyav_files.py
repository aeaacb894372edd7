"""Files that PyAV writes, for the tests of formats that libsndfile does not read."""

import importlib.util

import numpy as np
import pytest

needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="PyAV is not installed (pal-plugin[m4a])"
)


def tones(channels: int, rate_hz: int, seconds: float) -> np.ndarray:
    """`[channels, S]`, one pitch per channel; none in the sixth, which codecs filter."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    pitches = 220.0 * (1 + np.arange(channels))
    sound = 0.3 * np.sin(2 * np.pi * pitches[:, None] * time_s)
    sound[3:] = 0
    return sound.astype(np.float32)


def encode(path, samples, rate_hz, container, codec, title=None, **options) -> bytes:
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(str(path), "w", format=container, options=options) as file:
        file.metadata.update({"title": title} if title else {})
        stream = file.add_stream(codec, rate=rate_hz, layout=layout)
        stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        resampler = av.AudioResampler(
            stream.codec_context.codec.audio_formats[0].name,
            layout,
            rate_hz,
            frame_size=stream.codec_context.frame_size,
        )
        for part in resampler.resample(frame) + resampler.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return path.read_bytes()
