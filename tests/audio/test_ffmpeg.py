"""M4A and other formats by PyAV where it is installed, and what is said where it is not."""

import importlib.util
import sys

import numpy as np
import pytest
import torch

from pal_plugin.audio import AudioError, load_audio

av_is_here = importlib.util.find_spec("av") is not None
needs_av = pytest.mark.skipif(not av_is_here, reason="PyAV is not installed (pal-plugin[m4a])")

# The first bytes of any M4A file: enough to be recognised as none of libsndfile's formats.
M4A_HEAD = b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00M4A isomiso2" + bytes(64)


def test_without_pyav_the_error_names_it_and_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.m4a"
    path.write_bytes(M4A_HEAD)
    for source in (path, M4A_HEAD):
        with pytest.raises(AudioError, match=r"M4A.*PyAV: `pip install av`.*pal-plugin\[m4a\]"):
            load_audio(source)


def tones(channels: int, rate_hz: int, seconds: float) -> np.ndarray:
    """`[channels, S]`, one pitch per channel; none in the sixth, which codecs filter."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    pitches = 220.0 * (1 + np.arange(channels))
    sound = 0.3 * np.sin(2 * np.pi * pitches[:, None] * time_s)
    sound[3:] = 0
    return sound.astype(np.float32)


def encode(path, samples, rate_hz, container, codec, **options) -> bytes:
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    with av.open(str(path), "w", format=container, options=options) as file:
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


KINDS = [
    ("ipod", "aac", {}),
    ("ipod", "aac", {"movflags": "faststart"}),
    ("mov", "alac", {"movflags": "faststart"}),
    ("matroska", "aac", {}),
    ("webm", "libopus", {}),
    ("adts", "aac", {}),
]


@needs_av
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("container", "codec", "options"), KINDS)
def test_clips_decode_to_the_mean_of_their_channels(tmp_path, container, codec, options, channels):
    rate_hz = 48000
    samples = tones(channels, rate_hz, 2.0)
    data = encode(tmp_path / "clip", samples, rate_hz, container, codec, **options)
    waveform, decoded_hz = load_audio(data)
    assert decoded_hz == rate_hz
    # AAC comes in frames of 1024 samples, and an ADTS stream has its lead-in too.
    assert 0 <= len(waveform) - samples.shape[1] <= 3 * 1024
    expected = samples.mean(axis=0)[5000:-5000]
    likeness = max(
        np.corrcoef(waveform.numpy()[5000 + lead :][: len(expected)], expected)[0, 1]
        for lead in (0, 1024)
    )
    assert likeness > 0.99
    assert waveform.numpy()[10000:-10000].std() == pytest.approx(expected.std(), rel=0.05)


@needs_av
@pytest.mark.parametrize(("container", "codec", "options"), KINDS)
def test_a_missing_end_raises(tmp_path, container, codec, options):
    noise = 0.2 * np.random.default_rng(0).standard_normal((1, 3 * 48000)).astype(np.float32)
    data = encode(tmp_path / "clip", noise, 48000, container, codec, **options)
    load_audio(data)
    for percent in (10, 25, 40, 55, 70, 85, 92):
        with pytest.raises(AudioError, match=r"cut off|cannot decode"):
            load_audio(data[: len(data) * percent // 100])


def boxes(data: bytes) -> list[tuple[bytes, int]]:
    """`(kind, end)` of the boxes of an MP4."""
    found, at = [], 0
    while at < len(data):
        kind, at = data[at + 4 : at + 8], at + int.from_bytes(data[at : at + 4], "big")
        found.append((kind, at))
    return found


@needs_av
def test_a_tag_behind_the_last_box_is_no_missing_end(tmp_path):
    data = encode(tmp_path / "clip", tones(1, 48000, 1.0), 48000, "ipod", "aac")
    assert torch.equal(load_audio(data + b"TAG".ljust(128, b"x"))[0], load_audio(data)[0])


FRAGMENTS = {"frag_duration": "200000"}
INDEXED = {"movflags": "dash+global_sidx+frag_keyframe+empty_moov", **FRAGMENTS}
LISTED = {"movflags": "frag_keyframe", **FRAGMENTS}


@needs_av
@pytest.mark.parametrize("options", [INDEXED, LISTED, {**LISTED, "movflags": "dash+empty_moov"}])
def test_a_fragmented_mp4_is_whole_or_refused(tmp_path, options):
    noise = 0.2 * np.random.default_rng(0).standard_normal((1, 3 * 48000)).astype(np.float32)
    data = encode(tmp_path / "clip", noise, 48000, "mp4", "aac", **options)
    waveform, _ = load_audio(data)
    assert len(waveform) >= noise.shape[1]
    # Between two boxes every part is whole: only the index knows that more belongs there.
    ends = [end for kind, end in boxes(data) if kind in (b"moov", b"mdat")]
    assert len(ends) > 5
    for end in [*ends[:-1], *(end - 3 for end in ends), *(end + 3 for end in ends[:-1])]:
        with pytest.raises(AudioError, match="cut off|ffmpeg -i IN -c copy OUT|broken"):
            load_audio(data[:end])


@needs_av
@pytest.mark.parametrize(("container", "codec"), [("webm", "libopus"), ("matroska", "aac")])
def test_a_live_stream_is_refused_with_the_way_to_remux(tmp_path, container, codec):
    sound = tones(1, 48000, 1.0)
    data = encode(tmp_path / "clip", sound, 48000, container, codec, live="1")
    with pytest.raises(AudioError, match="written as a stream.*`ffmpeg -i IN -c copy OUT`"):
        load_audio(data)


@needs_av
def test_a_wma_that_was_streamed_is_refused(tmp_path):
    noise = 0.2 * np.random.default_rng(0).standard_normal((1, 2 * 44100)).astype(np.float32)
    data = encode(tmp_path / "clip", noise, 44100, "asf", "wmav2")
    load_audio(data)
    with pytest.raises(AudioError, match="cut off"):
        load_audio(data[: len(data) - 100])
    file = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    streamed = bytearray(data)
    streamed[file + 88] |= 1
    with pytest.raises(AudioError, match="written as a stream"):
        load_audio(bytes(streamed))


@needs_av
def test_no_audio_and_unsafe_containers_are_refused(tmp_path):
    with pytest.raises(AudioError, match="broken, cut off or no audio"):
        load_audio(M4A_HEAD)
    data = encode(tmp_path / "clip", tones(1, 48000, 1.0), 48000, "mpegts", "aac")
    with pytest.raises(AudioError, match="in mpegts a missing end is not recognised"):
        load_audio(data)
