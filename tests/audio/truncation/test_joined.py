"""Files joined end to end are heard in whole and at their pitch, or refused; never in part."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_files import by_ffmpeg, by_sndfile
from pyav_files import needs_av

from pal_plugin.audio.decoding import AudioError, decode

#: Rate and channels of the first and the second file.
PAIRS = {
    "the same": ((48000, 1), (48000, 1)),
    "lower": ((48000, 1), (16000, 1)),
    "higher": ((16000, 1), (48000, 1)),
    "wider": ((48000, 1), (48000, 2)),
    "narrower": ((48000, 2), (48000, 1)),
}
CONTAINERS = [
    *((name, "PCM_16") for name in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST")),
    *(("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
]
#: Made to be joined: streams of frames, and OGG, which has a name for it (a chain).
JOIN = {"OGG", "MP3", "adts", "mp2"}


def check(first: bytes, second: bytes, may_be_whole: bool) -> None:
    seconds = [len(samples) / rate_hz for samples, rate_hz, _ in map(decode, (first, second))]
    if not may_be_whole:
        with pytest.raises(AudioError):
            decode(first + second)
        return
    samples, rate_hz, _ = decode(first + second)
    assert len(samples) / rate_hz == pytest.approx(sum(seconds), abs=0.15)
    # The same pitch to the end: the first tone, 220 Hz, is the loudest in the last half second.
    spectrum = np.abs(np.fft.rfft(samples[-rate_hz // 2 :]))
    assert 2 * np.argmax(spectrum) == pytest.approx(220, abs=4)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_files_of_libsndfile(container, subtype, pair):
    first, second = (by_sndfile(container, subtype, *form, seconds=1.0) for form in PAIRS[pair])
    check(first, second, container in JOIN and pair == "the same")


@needs_av
@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize(
    ("container", "codec"),
    [
        *(("ipod", "aac"), ("mp4", "libmp3lame"), ("mov", "pcm_s16le"), ("matroska", "aac")),
        *(("matroska", "libmp3lame"), ("wv", "wavpack"), ("tta", "tta"), ("adts", "aac")),
        ("mp2", "mp2"),
    ],
)
def test_files_of_ffmpeg(tmp_path, container, codec, pair):
    first, second = (by_ffmpeg(tmp_path, container, codec, *f, seconds=1.0) for f in PAIRS[pair])
    check(first, second, container in JOIN and pair == "the same")


KINDS = {
    **{name: (name, "PCM_16") for name in ("WAV", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")},
    "OGG": ("OGG", "VORBIS"),
    "MP3": ("MP3", "MPEG_LAYER_III"),
}


@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("between", [b"", b"\n", bytes(1000)], ids=["", "line", "zeros"])
def test_files_of_two_kinds_and_what_stands_between(first, second, between):
    """Nothing of the second is lost or heard wrongly without a word."""
    one, two = by_sndfile(*KINDS[first], seconds=0.5), by_sndfile(*KINDS[second], seconds=0.5)
    if first == second and first in JOIN:
        return  # test_files_of_libsndfile
    with pytest.raises(AudioError):
        decode(one + between + two)


@needs_av
@pytest.mark.parametrize("between", [b"", b"\n", b"ID3\x03\0\0\0\0\0\x05hello", bytes(1000)])
@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("matroska", "pcm_s16le"), ("asf", "wmav2")]
)
def test_what_stands_between_files_of_ffmpeg(tmp_path, container, codec, between):
    made = by_ffmpeg(tmp_path, container, codec, 16000, seconds=0.5)
    other = by_sndfile("WAV", "PCM_16")
    for second in (made, other):
        with pytest.raises(AudioError):
            decode(made + between + second)


@pytest.mark.parametrize("name", ["WAV", "AIFF", "AU", "FLAC", "CAF", "NIST", "W64", "OGG", "MP3"])
def test_zeros_and_tags_behind_a_whole_file_are_not_heard(name):
    made = by_sndfile(*KINDS[name], seconds=1.0)
    expected, rate_hz, _ = decode(made)
    for behind in (bytes(1000), b"TAG" + bytes(125)):
        if name == "OGG" and behind[:1] == b"T":
            continue
        samples, its_hz, _ = decode(made + behind)
        assert (len(samples), its_hz) == (len(expected), rate_hz)
        np.testing.assert_allclose(samples, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["WAV", "AIFF", "AU", "FLAC", "CAF", "NIST", "OGG", "MP3"])
def test_a_tag_in_front_is_not_heard_and_costs_nothing(name):
    made = by_sndfile(*KINDS[name], seconds=1.0)
    expected = decode(made)[0]
    tag = b"ID3\x03\0\0\0\0\x08\0" + bytes(1024)
    np.testing.assert_allclose(decode(tag + made)[0], expected, atol=1e-6)
    with pytest.raises(AudioError):
        decode(tag + made + made) if name not in JOIN else decode(tag + made[: len(made) // 2])


def chunk(name: bytes, content: bytes) -> bytes:
    return name + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def test_a_file_in_what_a_wav_says_of_itself_is_no_second_one():
    wav = by_sndfile("WAV", "PCM_16", seconds=1.0)
    body = wav[12:]
    for chunks in (chunk(b"xtra", wav) + body, body + chunk(b"LIST", b"INFO" + wav)):
        made = b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WAVE" + chunks
        assert np.array_equal(decode(made)[0], decode(wav)[0])


def test_a_wav_that_was_appended_to_is_refused():
    wav = by_sndfile("WAV", "PCM_16", seconds=1.0)
    at = wav.index(b"data") + 4
    for counted in (100, 16000):
        with pytest.raises(
            AudioError, match="more data after its samples than its header declares"
        ):
            decode(wav[:at] + counted.to_bytes(4, "little") + wav[at + 4 :])


def test_the_error_says_what_to_do():
    wav = by_sndfile("WAV", "PCM_16")
    with pytest.raises(AudioError, match="a second file after the first; split them"):
        decode(wav + wav)
    mono, stereo = (by_sndfile("MP3", "MPEG_LAYER_III", channels=n, seconds=1.0) for n in (1, 2))
    with pytest.raises(AudioError, match="rate or channels change midway.*split it"):
        decode(mono + stereo)


def test_frames_in_a_tag_behind_an_mp3_are_no_second_part():
    mono, stereo = (by_sndfile("MP3", "MPEG_LAYER_III", channels=n, seconds=1.0) for n in (1, 2))
    samples, *_ = decode(mono + b"TAG" + stereo[:100].ljust(125, b"\0"))
    assert np.array_equal(samples, decode(mono)[0])
