"""What decodes and is still no sound: told or refused, and channels that cancel are heard."""

import io
import logging

import numpy as np
import pytest
import soundfile

from pal_plugin.audio.decoding import AudioError, decode
from pal_plugin.audio.mixing import check_length, to_mono

RATE_HZ = 16000
TONE = (0.5 * np.sin(np.arange(RATE_HZ) * 0.1)).astype(np.float32)
NOISE = np.random.default_rng(0).standard_normal((6, RATE_HZ)).astype(np.float32) * 0.1


@pytest.mark.parametrize("rate_hz", [1, 100, 999, 2**31 - 1])
def test_a_rate_that_no_recording_has_is_refused_by_rate_and_length(rate_hz):
    with pytest.raises(
        AudioError, match=rf"the array declares {rate_hz} Hz, .* hours; expected 1000"
    ):
        decode((np.zeros(720_000, np.float32), rate_hz))


def test_a_file_of_one_hertz_is_refused():
    buffer = io.BytesIO()
    soundfile.write(buffer, TONE, 1, format="WAV")
    with pytest.raises(AudioError, match=r"declares 1 Hz, so its 16000 samples would be 4\.44 h"):
        decode(buffer.getvalue())


def test_a_day_is_the_longest_clip():
    check_length(24 * 3600 * 8000, 8000, "a")
    with pytest.raises(AudioError, match=r"a is 24\.0 hours long; expected at most 24: split it"):
        check_length(24 * 3600 * 8000 + 1, 8000, "a")


@pytest.mark.parametrize("scale", [1e10, 1e30, 1e300])
def test_samples_that_no_feature_can_hold_are_refused(scale):
    with pytest.raises(AudioError, match="has a peak of|non-finite"):
        decode((TONE.astype(np.float64) * scale, RATE_HZ))


def test_floats_in_the_range_of_int16_are_told_with_their_peak(caplog):
    loud = TONE * 2 * 32767
    assert np.array_equal(decode((loud, RATE_HZ))[0], loud)
    assert f"has a peak of {loud.max():.6g}" in caplog.text
    assert "by 32768" in caplog.text
    caplog.clear()
    decode((TONE * 4, RATE_HZ))  # a float file may be mixed hotter than 1
    decode(((TONE * 32767).astype(np.int16), RATE_HZ))
    assert not caplog.records


@pytest.mark.parametrize(
    "channels", [[TONE + 0.3, 0.3 - TONE], [1e-25 * TONE, -1e-25 * TONE]], ids=["constant", "quiet"]
)
def test_channels_cancel_also_beside_a_constant_and_when_quiet(caplog, channels):
    heard = to_mono(np.stack(channels).astype(np.float32).T, "a")
    assert np.var(heard, dtype=np.float64) > 0
    assert "cancel each other" in caplog.text


@pytest.mark.parametrize("second", [-TONE, -0.9 * TONE])
def test_channels_that_cancel_are_heard_by_the_loudest(caplog, second):
    samples = np.stack([0.8 * second, TONE, -TONE, 0.8 * TONE])[[1, 0, 2, 3]]
    for pair, loudest in ((samples[[0, 2]], 0), (np.stack([second, TONE]), None)):
        caplog.clear()
        heard = to_mono(pair.T, "song.wav")
        expected = pair[loudest] if loudest is not None else max(pair, key=np.linalg.norm)
        assert np.array_equal(np.abs(heard), np.abs(expected))
        assert "channels of song.wav cancel each other" in caplog.text


@pytest.mark.parametrize(
    "channels",
    [
        NOISE[:2],
        np.stack([TONE, 0 * TONE]),
        np.stack([TONE, TONE]),
        np.stack([TONE, 0.3 * NOISE[0] - 0.5 * TONE]),
        np.concatenate([TONE[None], np.zeros((15, RATE_HZ), np.float32)]),  # a microphone array
        np.zeros((2, RATE_HZ), np.float32),
    ],
)
def test_others_are_averaged_without_a_word(caplog, channels):
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(to_mono(channels.T, "a"), channels.mean(0), atol=1e-6)
    assert not caplog.records
