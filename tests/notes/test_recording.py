"""A recording keeps pitch and length in bounds, whatever is drawn."""

import numpy as np

from pal_plugin.notes.recording import MAX_S, SAMPLE_RATE_HZ, recorded

RATE_HZ = 48_000


def tone(seconds, pitch_hz=440.0):
    return np.sin(2 * np.pi * pitch_hz * np.arange(round(seconds * RATE_HZ)) / RATE_HZ).astype("f4")


def test_the_pitch_stays_within_a_semitone():
    for seed in range(20):
        sound = recorded(np.random.default_rng(seed), tone(1.0), RATE_HZ, held=True)
        assert sound.dtype == np.float32
        assert 0.05 < np.abs(sound).max() <= 1.0
        spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
        peak_hz = spectrum.argmax() * SAMPLE_RATE_HZ / len(sound)
        assert abs(12 * np.log2(peak_hz / 440.0)) < 1.0


def test_clips_are_cut_and_silence_is_left_out():
    padded = np.concatenate([tone(0.5), np.zeros(5 * RATE_HZ, "f4")])
    short = [recorded(np.random.default_rng(s), padded, RATE_HZ, held=False) for s in range(10)]
    assert max(len(sound) for sound in short) < 3.5 * SAMPLE_RATE_HZ
    long = recorded(np.random.default_rng(0), tone(12.0), RATE_HZ, held=True)
    assert len(long) == MAX_S * SAMPLE_RATE_HZ


def test_silence_does_no_harm():
    sound = recorded(np.random.default_rng(0), np.zeros(4800, "f4"), RATE_HZ, held=True)
    assert np.isfinite(sound).all()


def test_what_is_struck_does_not_swell():
    class Counted(np.random.Generator):
        drawn = 0

        def integers(self, *arguments, **more):
            self.drawn += 1
            return super().integers(*arguments, **more)

    for held in (True, False):
        rng = Counted(np.random.PCG64(0))
        recorded(rng, tone(0.3), RATE_HZ, held)
        assert rng.drawn == held
