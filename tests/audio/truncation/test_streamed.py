"""Lengths that a writer could not know; what follows is heard to its end."""

import io

import numpy as np
import pytest
import soundfile

from pal_plugin.audio.decoding import AudioError, decode
from pal_plugin.audio.truncation.streamed import completed

SAMPLES = (0.5 * np.sin(np.arange(8000) * 0.06)).astype(np.float32)


def made(container: str, samples=SAMPLES) -> bytearray:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16000, format=container, subtype="PCM_16")
    return bytearray(buffer.getvalue())


@pytest.mark.parametrize("size", [bytes(4), b"\xff" * 4])
@pytest.mark.parametrize("places", [("whole",), ("data",), ("whole", "data")])
@pytest.mark.parametrize(("container", "chunk"), [("WAV", b"data"), ("AIFF", b"SSND")])
def test_sizes_of_zero_or_all_ones(container, chunk, places, size):
    data = made(container)
    expected = decode(bytes(data))[0]
    for place in places:
        at = 4 if place == "whole" else data.index(chunk) + 4
        data[at : at + 4] = size
    assert np.array_equal(decode(bytes(data))[0], expected)


def test_an_aiff_without_samples_by_its_header():
    data = made("AIFF")
    expected = decode(bytes(data))[0]
    at = data.index(b"SSND") + 4
    data[at : at + 4] = b"\0\0\0\x08"
    data[4:8] = bytes(4)
    assert np.array_equal(decode(bytes(data))[0], expected)


@pytest.mark.parametrize("size", [bytes(4), b"\xff" * 4])
def test_au(size):
    data = made("AU")
    expected = decode(bytes(data))[0]
    data[8:12] = size
    assert np.array_equal(decode(bytes(data))[0], expected)


@pytest.mark.parametrize("size", [bytes(8), b"\xff" * 8])
def test_rf64(size):
    data = made("RF64")
    expected = decode(bytes(data))[0]
    at = data.index(b"ds64") + 16
    data[at : at + 8] = size
    assert np.array_equal(decode(bytes(data))[0], expected)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("kind", ["tone", "silence", "fade", "noise"])
def test_samples_behind_a_size_of_zero_are_no_chunks(kind, subtype):
    rng = np.random.default_rng(0)
    for _ in range(20 if kind == "noise" else 1):
        samples = {
            "tone": SAMPLES,
            "silence": 0 * SAMPLES,
            "fade": SAMPLES * np.linspace(0, 1, len(SAMPLES), dtype=np.float32),
            "noise": rng.uniform(-0.5, 0.5, len(SAMPLES)).astype(np.float32),
        }[kind]
        buffer = io.BytesIO()
        soundfile.write(buffer, samples, 16000, format="WAV", subtype=subtype)
        data = bytearray(buffer.getvalue())
        expected = decode(bytes(data))[0]
        at = data.index(b"data") + 4
        data[at : at + 4] = bytes(4)
        assert np.array_equal(decode(bytes(data))[0], expected)


def test_an_empty_wav_with_a_tag_behind_holds_no_samples():
    empty = bytes(made("WAV", SAMPLES[:0])) + b"LIST\x04\0\0\0INFO"
    assert completed(empty) == empty
    with pytest.raises(AudioError, match="no samples"):
        decode(empty)


def test_whole_files_stay_as_they_are():
    for container in ("WAV", "WAVEX", "RF64", "AIFF", "AU", "FLAC"):
        assert completed(bytes(made(container))) == bytes(made(container))
