"""MPEG audio: an index, or its frames, say where the end is; joined files are heard to theirs."""

import io

import numpy as np
import pytest
import soundfile
import torch

from pal_plugin.audio.io import AudioError, load_audio
from pal_plugin.audio.truncation.mp3 import frames

RATE_HZ = 16000


def encode(seconds: float = 2.0, loudness: float = 0.3) -> bytes:
    """Noise as an MP3 with an index."""
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    buffer = io.BytesIO()
    loud = (loudness * samples).clip(-1, 1).astype(np.float32)
    soundfile.write(buffer, loud, RATE_HZ, format="MP3", subtype="MPEG_LAYER_III")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def mp3() -> bytes:
    return encode()


def without_index(data: bytes) -> bytes:
    """The audio frames alone: what a recorder or a stream leaves."""
    return data[list(frames(data))[1][0] :]


def with_vbri(data: bytes, count: int) -> bytes:
    """The Xing frame rewritten to the VBRI layout."""
    (start, header), *_ = frames(data)
    frame = bytearray(header.length)
    frame[:4] = data[start : start + 4]
    frame[36:54] = b"VBRI" + bytes(10) + count.to_bytes(4, "big")
    return bytes(frame) + data[start + header.length :]


def test_an_mp3_cut_between_two_frames_raises_by_its_index(mp3):
    starts = [at for at, _ in frames(mp3)]
    audio = len(starts) - 1
    for data, last in ((mp3, starts[-1]), (with_vbri(mp3, audio), starts[-2])):
        load_audio(data)
        shift = len(data) - len(mp3)
        for kept in (starts[5], starts[audio // 2], last):
            with pytest.raises(AudioError, match="truncated"):
                load_audio(data[: kept + shift])


def test_an_mp3_without_index_decodes_in_full_and_raises_within_a_frame(mp3):
    bare = without_index(mp3)
    found = list(frames(bare))
    samples_per_frame = 576  # layer III below 32 kHz
    decoded, _ = load_audio(bare)
    # The decoder's own delay of 529 samples is all that may be missing.
    assert len(found) * samples_per_frame - 529 <= len(decoded) <= len(found) * samples_per_frame
    for kept in range(found[20][0] + 1, found[21][0], 7):
        with pytest.raises(AudioError, match="truncated"):
            load_audio(bare[:kept])


@pytest.mark.parametrize("tail", [b"TAG" + bytes(125), bytes(999), b"APETAGEX" + 800 * b"x"])
def test_tags_and_padding_behind_an_mp3_are_no_audio(mp3, tail):
    for data in (mp3, without_index(mp3)):
        assert len(load_audio(data + tail)[0]) == len(load_audio(data)[0])


def test_mp3_files_joined_end_to_end_are_heard_to_the_end(mp3):
    alone, _ = load_audio(mp3)
    joined, _ = load_audio(mp3 + mp3)
    assert len(joined) >= 2 * len(alone)
    with pytest.raises(AudioError, match="truncated"):
        load_audio(mp3 + mp3[:-100])


def test_an_mp3_of_varying_bit_rate_without_index_is_not_shortened():
    """libsndfile takes the first frame's bit rate for the length of all."""
    loud, quiet = (without_index(encode(2.0, x)) for x in (0.3, 0))
    sizes = [len(loud) / len(list(frames(loud))), len(quiet) / len(list(frames(quiet)))]
    assert sizes[0] > 1.2 * sizes[1]
    for data in (loud + quiet, quiet + loud):
        decoded, _ = load_audio(data)
        assert len(decoded) == pytest.approx(576 * len(list(frames(data))), abs=530)


FRONT = {
    "two tags, the second of 60 kB": b"ID3\x03\0\0\0\0\x08\0"
    + bytes(1024)
    + b"ID3\x03\0\0\0\x03\x54\x60"
    + bytes(60000),
    "a tag and zeros": b"ID3\x03\0\0\0\0\x08\0" + bytes(1024 + 3000),
    "zeros": bytes(3000),
    "an HTTP header": b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\n\r\n",
    "a page": b"<!doctype html>" + b"<p>\xff\xfb</p>" * 500,
    "a tag that lies about its size": b"ID3\x04\0\0\x7f\x7f\x7f\x7f",
}


@pytest.mark.parametrize("front", FRONT)
def test_what_stands_in_front_of_an_mp3_is_not_heard(mp3, front):
    heard, rate_hz = load_audio(FRONT[front] + mp3)
    assert rate_hz == RATE_HZ
    assert torch.equal(heard, load_audio(mp3)[0])


def test_a_truncated_mp3_behind_junk_is_truncated(mp3):
    with pytest.raises(AudioError, match="truncated"):
        load_audio(bytes(3000) + mp3[: len(mp3) // 2])
