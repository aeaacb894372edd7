"""Tensors in, tensors out; resampling keeps what is heard."""

import numpy as np
import pytest
import torch

from pal_plugin.audio.io import AudioError, load_audio, resample


def tone(seconds: float = 1.0, rate_hz: int = 16000) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (0.5 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("convert", [np.asarray, torch.from_numpy])
def test_arrays_in_both_orders_are_averaged(convert, transpose):
    stereo = np.stack([tone(), 0 * tone()])
    array = convert(np.ascontiguousarray(stereo.T) if transpose else stereo)
    waveform, rate_hz = load_audio((array, 22050))
    assert rate_hz == 22050
    torch.testing.assert_close(waveform, torch.from_numpy(tone()) / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_of_every_float_type_are_taken(dtype):
    waveform, _ = load_audio((torch.tensor([0.5, -0.25], dtype=dtype).requires_grad_(), 8000))
    assert waveform.dtype == torch.float32
    assert waveform.tolist() == [0.5, -0.25]


def test_tensors_of_an_unknown_range_are_refused():
    with pytest.raises(AudioError, match="int16, int32.*got int64"):
        load_audio((torch.arange(9), 16000))


# 11111 Hz shares no divisor with 16000: the frequency-domain path.
@pytest.mark.parametrize(
    ("from_hz", "to_hz"), [(44100, 16000), (16000, 48000), (11111, 16000), (44101, 16000)]
)
def test_resampling_keeps_a_tone(from_hz, to_hz):
    resampled = resample(torch.from_numpy(tone(1.0, from_hz)), from_hz, to_hz)
    assert resampled.shape == (to_hz,)
    middle = slice(to_hz // 4, -to_hz // 4)
    torch.testing.assert_close(
        resampled[middle], torch.from_numpy(tone(1.0, to_hz))[middle], atol=2e-3, rtol=0
    )
