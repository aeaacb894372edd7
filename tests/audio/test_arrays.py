"""Arrays as callers have them; `test_decoding.py` has their types and shapes."""

import numpy as np
import pytest

from pal_plugin.audio.arrays import from_array
from pal_plugin.audio.errors import AudioError


def test_the_longer_side_is_time_and_doubles_become_floats():
    samples, rate_hz = from_array(np.zeros((2, 100)), 22050.0)
    assert (samples.shape, samples.dtype, rate_hz) == ((100, 2), np.float32, 22050)
    assert type(rate_hz) is int


@pytest.mark.parametrize("rate_hz", [-1, 0.5, float("nan"), float("inf"), None, "16000"])
def test_rates_that_are_none(rate_hz):
    with pytest.raises(AudioError, match="positive integer, got"):
        from_array(np.zeros(9), rate_hz)


@pytest.mark.parametrize("array", [[[0.0], [0.0, 1.0]], ["a", "b"], None, {}, np.zeros(9, complex)])
def test_what_is_no_array_of_numbers(array):
    with pytest.raises(AudioError, match="expected"):
        from_array(array, 16000)


@pytest.mark.parametrize("dtype", [">i2", ">i4", ">f4", "<i2"])
def test_the_order_of_bytes_does_not_matter(dtype):
    scale = 2**15 if dtype.endswith("i2") else 2**31 if dtype.endswith("i4") else 1
    samples, _ = from_array((np.array([0.5, -0.25]) * scale).astype(dtype), 16000)
    assert samples.tolist() == [0.5, -0.25]
