"""libsndfile's containers to their very end, whatever their headers announce."""

import io

import numpy as np
import pytest
import soundfile

from pal_plugin.audio import sndfile
from pal_plugin.audio.decoding import decode
from pal_plugin.audio.errors import AudioError, Undecodable

NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, (40_000, 2)).astype(np.float32)


def made(container: str, subtype: str | None = None, samples=NOISE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("container", "subtype"),
    [
        *(("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")),
        *(("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_24"), ("CAF", "ALAC_16")),
    ],
)
def test_blocks_give_what_one_read_gives(monkeypatch, container, subtype):
    data = made(container, subtype)
    whole, rate_hz = sndfile.decode(data)
    reference = soundfile.read(io.BytesIO(data), dtype="float32")[0]
    # mpg123 rounds by where its buffers lie in memory.
    exactly = 1e-6 if container == "MP3" else 0
    np.testing.assert_allclose(whole, reference, atol=exactly, rtol=0)
    monkeypatch.setattr(sndfile, "_BLOCK", 9999)
    blocks, its_hz = sndfile.decode(data)
    assert its_hz == rate_hz
    np.testing.assert_allclose(blocks, whole, atol=exactly, rtol=0)


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32"])
def test_blocks_of_codecs_that_cannot_seek(monkeypatch, subtype):
    data = made("AU" if subtype == "G721_32" else "WAV", subtype, NOISE[:, 0])
    whole, _ = sndfile.decode(data)
    monkeypatch.setattr(sndfile, "_BLOCK", 9999)
    assert np.array_equal(sndfile.decode(data)[0], whole)


def test_more_than_is_held_is_refused_and_not_allocated(monkeypatch):
    monkeypatch.setattr(sndfile, "MOST_VALUES", 2 * 30_000)
    with pytest.raises(Undecodable, match=r"longer than 0\.00 hours.* for 2 channels at 16000 Hz"):
        sndfile.decode(made("FLAC"))


def test_a_header_that_announces_terabytes_is_truncated():
    flac = bytearray(made("FLAC"))
    flac[21], flac[22] = flac[21] & 0xF0 | 0x0F, 0xFF  # 36 bits of total samples
    mp3 = bytearray(made("MP3"))
    at = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    mp3[at + 8 : at + 12] = b"\x7f\xff\xff\xff"
    for data in (flac, mp3):
        with pytest.raises(AudioError, match="cannot decode .*(truncated|seek)"):
            decode(bytes(data))


def test_a_format_that_it_does_not_know_is_none():
    assert sndfile.decode(b"\x00\x00\x00\x20ftypM4A " + bytes(64)) is None
