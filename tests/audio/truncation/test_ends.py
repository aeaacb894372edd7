"""Where files end by their own account."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_files import by_ffmpeg, by_sndfile
from pyav_files import needs_av

from pal_plugin.audio.truncation.ends import end_of, is_uncounted, wavpack_blocks

KNOWN = ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST")


@pytest.mark.parametrize("container", KNOWN)
def test_libsndfiles(container):
    data = by_sndfile(container, "PCM_16")
    for behind in (b"", bytes(100), data):
        at, is_known = end_of(data + behind)
        assert is_known
        # SPHERE and AU are as long as their samples; others may be padded.
        assert at in (len(data), len(data) - 1)
    assert not is_uncounted(data + bytes(100))


def test_a_flac_says_only_where_its_samples_begin():
    at, is_known = end_of(by_sndfile("FLAC", "PCM_16"))
    assert not is_known
    assert by_sndfile("FLAC", "PCM_16")[at : at + 2] == b"\xff\xf8"  # the sync code of a frame


@needs_av
@pytest.mark.parametrize(
    ("container", "codec"),
    [("ipod", "aac"), ("matroska", "aac"), ("asf", "wmav2"), ("wv", "wavpack")],
)
def test_ffmpegs(tmp_path, container, codec):
    data = by_ffmpeg(tmp_path, container, codec, 16000)
    data = data.partition(b"APETAGEX")[0]  # which ffmpeg writes behind WavPack
    assert end_of(data + b"\n" + data) == (len(data), True)


@needs_av
def test_blocks_of_wavpack_tell_where_a_stream_begins(tmp_path):
    data = by_ffmpeg(tmp_path, "wv", "wavpack", 16000, channels=2, seconds=3.0)
    data = data.partition(b"APETAGEX")[0]
    assert [begins for begins, _ in wavpack_blocks(data)].count(True) == 1
    assert [begins for begins, _ in wavpack_blocks(data + data)].count(True) == 2
