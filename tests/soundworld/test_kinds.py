"""Every kind of sound: as long as asked for, finite, and the same for the same seed."""

import numpy as np
import pytest

from pal_plugin.soundworld.events import LABELS, SAMPLE_RATE_HZ, Sound
from pal_plugin.soundworld.kinds import SYNTHESIS

SOUNDS = [Sound(0.0, 0.7, -20.0, 440.0, 660.0), Sound(1.0, 0.45, -20.0, 440.0, 660.0)]


def made(kind, seed=0, sounds=SOUNDS):
    return SYNTHESIS[kind](np.random.default_rng(seed), sounds)


def test_all_but_speech_are_made_here():
    assert set(SYNTHESIS) == set(LABELS) - {"speech"}


@pytest.mark.parametrize("kind", SYNTHESIS)
def test_waveforms_are_as_long_as_their_sounds_and_begin_and_end_in_silence(kind):
    for wave, sound in zip(made(kind), SOUNDS, strict=True):
        assert wave.shape == (round(sound.duration_s * SAMPLE_RATE_HZ),)
        assert np.isfinite(wave).all()
        largest = np.abs(wave).max()
        assert largest > 0
        assert max(abs(wave[0]), abs(wave[-1])) < 0.05 * largest  # no click


@pytest.mark.parametrize("kind", SYNTHESIS)
def test_timbre_follows_the_seed(kind):
    first, again, other = made(kind), made(kind), made(kind, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_repeats_of_one_event_share_their_timbre():
    one, two = made("tone", sounds=[SOUNDS[0], SOUNDS[0]])
    assert np.array_equal(one, two)


def test_a_sweep_needs_the_pitch_where_it_arrives():
    with pytest.raises(TypeError):
        made("sweep", sounds=[Sound(0.0, 0.5, -20.0, 440.0)])
