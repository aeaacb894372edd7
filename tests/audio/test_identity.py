"""A clip is what is decoded, whatever it is called."""

import os

import numpy as np
import pytest
import torch

from pal_plugin.audio.errors import AudioError
from pal_plugin.audio.identity import identified
from pal_plugin.audio.io import load_audio

NOISE = np.random.default_rng(0).standard_normal(400).astype(np.float32)


def test_a_file_is_its_bytes_and_not_its_name_or_time(tmp_path):
    import soundfile

    first, second = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(first, NOISE, 16000)
    second.write_bytes(first.read_bytes())
    os.utime(second, (0, 0))
    keys = {identified(first)[0], identified(str(second))[0], identified(first.read_bytes())[0]}
    with second.open("rb") as file:
        keys.add(identified(file)[0])
    assert len(keys) == 1
    soundfile.write(second, NOISE / 2, 16000)
    assert identified(second)[0] not in keys


def test_an_array_is_its_samples_type_shape_and_rate():
    key = identified((NOISE, 16000))[0]
    assert identified((torch.from_numpy(NOISE), 16000))[0] == key
    others = [
        (NOISE[1:], 16000),
        (NOISE, 8000),
        (NOISE.astype(np.float64), 16000),
        (NOISE.reshape(2, -1), 16000),
    ]
    assert len({key, *(identified(other)[0] for other in others)}) == 5


def test_what_comes_back_is_decoded_alike_and_named_alike(tmp_path):
    import soundfile

    path = tmp_path / "a.flac"
    soundfile.write(path, NOISE, 16000)
    for source in (path, path.read_bytes(), (NOISE, 16000)):
        expected, rate_hz = load_audio(source)
        waveform, its_hz = load_audio(identified(source)[1])
        assert its_hz == rate_hz
        assert torch.equal(waveform, expected)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AudioError, match=r"a\.flac"):
        load_audio(identified(path)[1])
    with pytest.raises(AudioError, match="cannot open"):
        identified(tmp_path / "gone.wav")
