"""Decoding and mixing down; broken audio raises and is never replaced."""

import io

import numpy as np
import pytest
import soundfile

from pal_plugin.audio.decoding import AudioError, decode

RATE_HZ = 16000


def tone(seconds: float = 1.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


def encode(samples: np.ndarray, container: str, subtype: str, rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


CONTAINERS = [
    ("WAV", "PCM_16"),
    ("FLAC", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("AU", "PCM_16"),
    ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III"),
]


@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_containers_decode_to_the_same_tone(container, subtype):
    samples, rate_hz, channels = decode(encode(tone(), container, subtype))
    assert (rate_hz, channels) == (RATE_HZ, 1)
    assert samples.dtype == np.float32
    assert samples.shape == (RATE_HZ,)
    assert np.corrcoef(samples, tone())[0, 1] > 0.99


@pytest.mark.parametrize("kept", [0.5, 0.97])
@pytest.mark.parametrize(("container", "subtype"), CONTAINERS)
def test_cut_off_files_raise(container, subtype, kept):
    data = encode(tone(3.0), container, subtype)
    with pytest.raises(AudioError, match=r"truncated|cannot decode"):
        decode(data[: int(kept * len(data))])


def test_path_file_object_and_bytes_agree(tmp_path):
    path = tmp_path / "tone.wav"
    path.write_bytes(encode(tone(), "WAV", "FLOAT"))
    from_path, *_ = decode(path)
    assert np.array_equal(from_path, tone())
    assert np.array_equal(decode(str(path))[0], from_path)
    with path.open("rb") as file:
        assert np.array_equal(decode(file)[0], from_path)


@pytest.mark.parametrize("transpose", [False, True])
def test_arrays_in_both_orders_are_averaged(transpose):
    stereo = np.stack([tone(), 0 * tone()])
    samples, rate_hz, channels = decode((stereo.T if transpose else stereo, 22050))
    assert (rate_hz, channels) == (22050, 2)
    np.testing.assert_allclose(samples, tone() / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "low"), [(np.int16, -(2**15)), (np.int32, -(2**31)), (np.uint8, 0)]
)
def test_integer_samples_are_scaled_by_their_range(dtype, low):
    middle = 128 if dtype is np.uint8 else 0
    samples, *_ = decode((np.array([low, middle], dtype=dtype), 8000))
    assert samples.tolist() == [-1.0, 0.0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((np.zeros(0, np.float32), 16000), "no samples"),
        ((np.array([0.0, np.nan, np.inf]), 16000), "2 non-finite samples of 3"),
        ((np.zeros((2, 2, 9)), 16000), r"got shape \(2, 2, 9\)"),
        ((np.zeros(9), 0), "positive integer"),
        ((np.zeros(9), "16000"), "positive integer"),
        ((16000, np.zeros(9)), "swap the two"),
        ((np.zeros(9, dtype=bool), 16000), "got bool"),
        ((np.arange(9, dtype=np.int64), 16000), r"got int64 .*samples\.astype\('int16'\)"),
        (([100, -100, 200], 16000), "int16, int32.*got int64"),
        (np.zeros(9), "got ndarray"),
        (b"", "0 bytes"),
        (b"this is not audio at all", "cannot decode"),
        (io.StringIO("text"), "binary mode"),
        ("no/such/file.wav", "cannot open no/such/file.wav"),
    ],
)
def test_unusable_sources_say_what_came(source, message):
    with pytest.raises(AudioError, match=message):
        decode(source)


def test_empty_and_non_finite_files_raise():
    with pytest.raises(AudioError, match="no samples"):
        decode(encode(np.zeros(0, np.float32), "WAV", "FLOAT"))
    with pytest.raises(AudioError, match="non-finite"):
        decode(encode(np.array([0, np.nan], np.float32), "WAV", "FLOAT"))
