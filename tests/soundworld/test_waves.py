"""Tables, envelopes and shaped noise: what sounds are built from."""

import numpy as np
import pytest

from pal_plugin.soundworld.waves import (
    TABLE_SIZE,
    band_pass,
    edges,
    period_table,
    read_table,
    samples,
    shaped_noise,
    times,
    turns,
)


def test_a_table_is_one_period_and_is_read_at_any_phase():
    table = period_table(np.array([1.0, 0.0, 0.5]))
    phase = np.arange(TABLE_SIZE) / TABLE_SIZE
    expected = np.cos(2 * np.pi * phase) + 0.5 * np.cos(2 * np.pi * 3 * phase)
    np.testing.assert_allclose(table, expected, atol=1e-9)
    assert read_table(table, np.array([0.0, 1.0, -2.0])) == pytest.approx([1.5, 1.5, 1.5])
    assert read_table(table, np.array([0.5])) == pytest.approx([-1.5])


def test_time_and_phase_are_counted_in_samples():
    assert samples(0.5) == 8000
    assert times(3) == pytest.approx([0.0, 1 / 16000, 2 / 16000])
    assert turns(np.full(16000, 440.0))[-1] == pytest.approx(440.0)


def test_an_envelope_rises_and_falls_and_is_1_between():
    envelope = edges(1600, 0.01, 0.02)
    assert envelope[0] < 0.01
    assert envelope[-1] < 0.01
    assert (envelope[160:-320] == 1.0).all()
    assert (np.diff(envelope[:160]) > 0).all()
    short = edges(10, 1.0, 1.0)  # both ends are longer than the sound
    assert short.max() < 1.0
    assert short == pytest.approx(short[::-1])


def test_noise_stays_within_its_band():
    noise = shaped_noise(np.random.default_rng(0), 16000, band_pass(1000.0, 2000.0))
    power = np.abs(np.fft.rfft(noise)) ** 2  # a bin is 1 Hz
    assert power[1000:2000].mean() > 10 * power[:300].mean()
    assert power[1000:2000].mean() > 100 * power[6000:].mean()
    with pytest.raises(ValueError, match="could not be broadcast"):
        shaped_noise(np.random.default_rng(0), 16000, lambda frequency_hz: np.ones(3))
