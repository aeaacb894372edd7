"""M4A and other formats by PyAV where it is installed, and what is said where it is not."""

import sys

import numpy as np
import pytest
import torch
from pyav_files import encode, needs_av, tones

from pal_plugin.audio.io import AudioError, load_audio

# The first bytes of any M4A file: enough to be recognised as none of libsndfile's formats.
M4A_HEAD = b"\x00\x00\x00\x20ftypM4A \x00\x00\x02\x00M4A isomiso2" + bytes(64)


def test_without_pyav_the_error_names_it_and_the_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "clip.m4a"
    path.write_bytes(M4A_HEAD)
    for source in (path, M4A_HEAD):
        with pytest.raises(AudioError, match=r"PyAV.*M4A.*`pip install av`.*pal-plugin\[m4a\]"):
            load_audio(source)


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
        with pytest.raises(AudioError, match=r"truncated|cannot decode"):
            load_audio(data[: len(data) * percent // 100])


@needs_av
def test_no_audio_and_unsafe_containers_are_refused(tmp_path):
    with pytest.raises(AudioError, match="damaged, truncated or not audio"):
        load_audio(M4A_HEAD)
    data = encode(tmp_path / "clip", tones(1, 48000, 1.0), 48000, "mpegts", "aac")
    with pytest.raises(AudioError, match="truncation cannot be detected in mpegts"):
        load_audio(data)


@needs_av
@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("webm", "libopus"), ("wv", "wavpack")]
)
def test_tags_in_another_encoding_do_not_matter(tmp_path, container, codec):
    plain = encode(
        tmp_path / "clip", tones(1, 48000, 1.0), 48000, container, codec, title="ABCDEFGH"
    )
    assert b"ABCDEFGH" in plain
    tagged = plain.replace(b"ABCDEFGH", "Caf\xe9 \xfcb".ljust(8).encode("latin-1"))
    assert torch.equal(load_audio(tagged)[0], load_audio(plain)[0])


@needs_av
def test_broken_lengths_of_matroska_are_told():
    for data in (
        "1a45dfa3004286810142f781",
        "1a45dfa380",
        "1a45dfa3ff",
        "1a45dfa301ffffffffffffff",
    ):
        with pytest.raises(AudioError, match="cannot decode"):
            load_audio(bytes.fromhex(data))


@needs_av
@pytest.mark.parametrize("tag", [b"TAG" + bytes(125), b"APETAGEX" + bytes(40), b"\n"])
def test_what_stands_behind_a_wavpack_is_not_heard(tmp_path, tag):
    plain = encode(tmp_path / "clip", tones(1, 48000, 1.0), 48000, "wv", "wavpack")
    assert torch.equal(load_audio(plain + tag)[0], load_audio(plain)[0])
    with pytest.raises(AudioError, match="cannot decode"):
        load_audio(plain[: len(plain) // 2])


@needs_av
@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_a_trimmed_recording_is_whole(tmp_path, seconds):
    """An edit list shows a part of what the file holds; the packets are counted all the same."""
    whole = bytearray(encode(tmp_path / "clip", tones(1, 16000, 5.0), 16000, "ipod", "aac"))
    at = whole.index(b"elst") + 12  # version, count, then the duration in the movie's time scale
    scale = int.from_bytes(whole[whole.index(b"mvhd") + 16 :][:4], "big")
    whole[at : at + 4] = round(seconds * scale).to_bytes(4, "big")
    heard, rate_hz = load_audio(bytes(whole))
    assert len(heard) / rate_hz == pytest.approx(seconds, abs=0.1)
