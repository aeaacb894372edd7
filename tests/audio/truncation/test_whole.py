"""A file whose end is missing raises, wherever it was cut; a whole one never does."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pal_plugin.audio.io import AudioError, load_audio

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "audio"
RATE_HZ = 16000
FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "PCM_24"),
    ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"),
    ("WAVEX", "PCM_24"),
    ("RF64", "PCM_16"),
    ("W64", "PCM_16"),
    ("CAF", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("NIST", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("WAV", "GSM610"),
    ("WAV", "G721_32"),
    ("WAV", "NMS_ADPCM_32"),
]


def noise(seconds: float = 2.0, loudness: float = 0.3) -> np.ndarray:
    samples = np.random.default_rng(0).standard_normal(round(seconds * RATE_HZ))
    return (loudness * samples).clip(-1, 1).astype(np.float32)


def encode(container: str, subtype: str, samples: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE_HZ, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_missing_end_raises_wherever_it_begins(container, subtype):
    data = encode(container, subtype, noise())
    load_audio(data)
    cuts = [len(data) * percent // 100 for percent in (*range(10, 100, 5), 99)]
    for kept in [*cuts, *range(len(data) - 20, len(data))]:
        with pytest.raises(AudioError, match=r"truncated|cannot decode"):
            load_audio(data[:kept])


@pytest.mark.parametrize(("container", "endian"), [("WAV", "BIG"), ("AU", "LITTLE")])
def test_a_missing_end_raises_in_the_other_byte_order(container, endian):
    buffer = io.BytesIO()
    soundfile.write(buffer, noise(), RATE_HZ, format=container, subtype="PCM_16", endian=endian)
    data = buffer.getvalue()
    assert len(load_audio(data)[0]) == 2 * RATE_HZ
    for kept in (len(data) // 2, len(data) - 100, len(data) - 2):
        with pytest.raises(AudioError, match="truncated"):
            load_audio(data[:kept])


# A page, a frame and a sample are where a cut leaves nothing half done.
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_cut_between_two_pages_raises(subtype):
    data = encode("OGG", subtype, noise(6.0))
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    assert len(pages) > 4
    for kept in pages[3:]:
        with pytest.raises(AudioError, match="truncated"):
            load_audio(data[:kept])


def test_the_end_of_the_last_link_of_an_ogg_chain_may_not_be_missing():
    first, second = (encode("OGG", "VORBIS", noise(seconds)) for seconds in (1.0, 2.0))
    with pytest.raises(AudioError, match=r"truncated|cannot decode"):
        load_audio(first + second[: len(second) // 2])


def test_formats_in_which_a_cut_cannot_be_seen_are_refused():
    with pytest.raises(AudioError, match="truncation cannot be detected in VOC"):
        load_audio(encode("VOC", "PCM_16", noise()))
    streamed = bytearray(encode("FLAC", "PCM_16", noise()))
    streamed[21] &= 0xF0  # the 36 bits of STREAMINFO's number of samples: unknown
    streamed[22:26] = bytes(4)
    with pytest.raises(AudioError, match="does not declare a length"):
        load_audio(bytes(streamed))


@pytest.mark.shared
@pytest.mark.skipif(not RECORDINGS.exists(), reason="../shared/data is not here")
def test_real_recordings_are_whole():
    files = sorted(p for p in RECORDINGS.rglob("*") if p.suffix in (".ogg", ".flac", ".mp3"))
    assert len(files) > 100
    for path in files[:: len(files) // 40]:
        waveform, rate_hz = load_audio(path)
        assert len(waveform) > 0.1 * rate_hz, path
