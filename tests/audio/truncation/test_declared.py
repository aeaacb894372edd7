"""MP4, Matroska and ASF files are whole by their own boxes, truncated, or refused."""

import numpy as np
import pytest
import torch
from pyav_files import encode, needs_av, tones

from pal_plugin.audio.io import AudioError, load_audio


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
        with pytest.raises(AudioError, match="truncated|ffmpeg -i IN -c copy OUT|broken"):
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
    with pytest.raises(AudioError, match="truncated"):
        load_audio(data[: len(data) - 100])
    file = data.index(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    streamed = bytearray(data)
    streamed[file + 88] |= 1
    with pytest.raises(AudioError, match="written as a stream"):
        load_audio(bytes(streamed))
