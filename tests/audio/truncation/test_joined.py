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


def test_the_error_says_what_to_do():
    wav = by_sndfile("WAV", "PCM_16")
    with pytest.raises(AudioError, match="a second file begins behind the first; split them"):
        decode(wav + wav)
    mono, stereo = (by_sndfile("MP3", "MPEG_LAYER_III", channels=n, seconds=1.0) for n in (1, 2))
    with pytest.raises(AudioError, match="changes its rate or channels on the way.*split it"):
        decode(mono + stereo)


def test_frames_in_a_tag_behind_an_mp3_are_no_second_part():
    mono, stereo = (by_sndfile("MP3", "MPEG_LAYER_III", channels=n, seconds=1.0) for n in (1, 2))
    samples, *_ = decode(mono + b"TAG" + stereo[:100].ljust(125, b"\0"))
    assert np.array_equal(samples, decode(mono)[0])
