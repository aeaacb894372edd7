"""A clip's bytes: the same each time, and what is recorded of them, also where PyAV reads them."""

import importlib.util
import io
import time

import numpy as np
import pytest
import soundfile

from pal_plugin.corpora.shards.encode import encode
from pal_plugin.corpora.shards.reading import find_shards
from pal_plugin.corpora.shards.verify import verify

from ..conftest import RATE_HZ, clip_bytes
from .test_convert import run

needs_av = pytest.mark.skipif(
    importlib.util.find_spec("av") is None, reason="PyAV is not installed (pal-plugin[m4a])"
)


def m4a(path, channels, rate_hz=48000, seconds=0.5):
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    samples = 0.1 * np.random.default_rng(0).standard_normal((channels, int(rate_hz * seconds)))
    with av.open(str(path), "w", format="ipod") as file:
        stream = file.add_stream("aac", rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), "fltp", layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        for part in (frame, None):
            file.mux(stream.encode(part))
    return path.read_bytes()


@needs_av
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_of_what_pyav_reads(tmp_path, channels):
    data = m4a(tmp_path / "x.m4a", channels)
    kept = encode(data, "m4a", "keep", None)
    assert (kept.channels, kept.data) == (channels, data)
    assert encode(data, "m4a", "flac", 8000).channels == 1


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_of_what_libsndfile_reads(form, channels):
    assert encode(clip_bytes(form, channels=channels), "x", "keep", None).channels == channels


@needs_av
def test_the_index_counts_channels(write_own, tmp_path):
    files = {
        "a.m4a": m4a(tmp_path / "x", 6),
        "b.wav": clip_bytes(channels=2),
        "c.wav": clip_bytes(),
    }
    folder, annotations = write_own(files)
    assert run(folder, annotations, tmp_path / "out")["channels"] == {"1": 1, "2": 1, "6": 1}
    assert verify(find_shards(tmp_path / "out")) == []


@pytest.mark.parametrize("form", ["flac", "ogg"])
def test_the_same_clip_is_encoded_to_the_same_bytes(form):
    data = clip_bytes(seconds=1.0)
    first = encode(data, "wav", form, 8000)
    time.sleep(0.01)  # libsndfile draws the serial number of an Ogg stream from the clock
    assert encode(data, "wav", form, 8000).data == first.data
    samples, rate_hz = soundfile.read(io.BytesIO(first.data))
    assert (len(samples), rate_hz) == (8000, 8000)
    assert first.seconds == pytest.approx(1.0)


def test_flac_keeps_more_than_16_bits_and_counts_what_it_cuts():
    deep = encode(clip_bytes(subtype="PCM_24"), "wav", "flac", None)
    assert soundfile.info(io.BytesIO(deep.data)).subtype == "PCM_24"
    loud = io.BytesIO()
    soundfile.write(loud, [0.5, 1.5, -2.0] * 400, RATE_HZ, format="WAV", subtype="FLOAT")
    cut = encode(loud.getvalue(), "wav", "flac", None)
    assert cut.clipped == 800
    assert encode(loud.getvalue(), "wav", "keep", None).data == loud.getvalue()
