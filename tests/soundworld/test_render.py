"""What is written about a scene is true of its samples."""

from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import pytest

from pal_plugin.soundworld import LABELS, SAMPLE_RATE_HZ, render, render_stems, sample_scene


def cut(wave, sound):
    return wave[
        round(sound.onset_s * SAMPLE_RATE_HZ) : round(
            (sound.onset_s + sound.duration_s) * SAMPLE_RATE_HZ
        )
    ]


def rms_db(wave):
    return 10 * np.log10(np.mean(np.square(wave, dtype=float)) + 1e-20)


def spectrum(wave):
    power = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    return np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE_HZ), power


def centroid_hz(wave):
    frequency_hz, power = spectrum(wave)
    return (frequency_hz * power).sum() / power.sum()


@cache
def rendered(label, count=12):
    """Scenes of one label with their stems."""
    rng = Random(label)
    scenes = [sample_scene(rng, label) for _ in range(count)]
    return [(scene, *render_stems(scene)) for scene in scenes]


def dominant(scene, stems):
    i = [event.kind for event in scene.events].index(scene.label)
    return scene.events[i], stems[i]


@pytest.mark.parametrize("label", LABELS)
def test_clips_are_finite_mono_float32_and_not_clipped(label):
    for scene, stems, noise in rendered(label):
        wave = stems.sum(0) + noise
        assert wave.shape == (round(scene.seconds * SAMPLE_RATE_HZ),)
        assert wave.dtype == np.float32
        assert np.isfinite(wave).all()
        assert np.abs(wave).max() < 0.99


def test_rendering_is_deterministic_and_follows_the_seed():
    scene = sample_scene(Random(1))
    assert np.array_equal(render(scene), render(scene))
    other = sample_scene(Random(2))
    assert scene.seed != other.seed


@pytest.mark.parametrize("label", LABELS)
def test_stated_levels_are_the_measured_ones(label):
    turned_down = 0
    for scene, stems, _ in rendered(label):
        measured = [
            rms_db(np.concatenate([cut(stem, sound) for sound in event.sounds]))
            for event, stem in zip(scene.events, stems, strict=True)
        ]
        stated = []
        for event in scene.events:
            power = [10 ** (s.level_db / 10) * s.duration_s for s in event.sounds]
            stated.append(10 * np.log10(sum(power) / sum(s.duration_s for s in event.sounds)))
        shift = np.subtract(measured, stated)
        # a clip that would have clipped is turned down as a whole
        turned_down += shift.max() < -0.1
        assert np.ptp(shift) < 0.1
        assert shift.max() < 0.1
    assert turned_down <= 3


@pytest.mark.parametrize("label", LABELS)
def test_sounds_stand_above_silence_where_they_are_stated(label):
    for scene, stems, noise in rendered(label):
        for event, stem in zip(scene.events, stems, strict=True):
            before = stem[: round(event.onset_s * SAMPLE_RATE_HZ)]
            assert np.abs(before).max(initial=0.0) < 0.01 * np.abs(stem).max()
            assert min(rms_db(cut(stem, s)) for s in event.sounds) > rms_db(noise) + 6


def test_the_pitch_of_a_tone_is_its_strongest_partial_or_its_spacing():
    for scene, stems, _ in rendered("tone"):
        event, stem = dominant(scene, stems)
        for sound in event.sounds:
            frequency_hz, power = spectrum(cut(stem, sound))
            peak_hz = frequency_hz[power.argmax()]
            harmonic = round(peak_hz / sound.pitch_hz)
            assert harmonic >= 1
            assert abs(peak_hz - harmonic * sound.pitch_hz) < 1.5 / sound.duration_s
            lowest = power[(frequency_hz < 0.8 * sound.pitch_hz)].max()
            assert lowest < 0.02 * power.max()


def test_the_strike_note_of_a_bell_is_there():
    for scene, stems, _ in rendered("bell"):
        event, stem = dominant(scene, stems)
        for sound in event.sounds:
            frequency_hz, power = spectrum(cut(stem, sound))
            near = np.abs(frequency_hz - sound.pitch_hz) < 3.0 / sound.duration_s
            assert power[near].max() > 0.05 * power.max()


def test_sweeps_go_where_they_are_said_to_go():
    directions = set()
    for scene, stems, _ in rendered("sweep"):
        event, stem = dominant(scene, stems)
        directions.add(event.direction)
        for sound in event.sounds:
            begin, end = np.array_split(cut(stem, sound), 2)
            assert (centroid_hz(end) > centroid_hz(begin)) == (event.direction == "up")
    assert directions == {"up", "down"}


@pytest.mark.parametrize("label", ["tone", "noise burst", "drip", "sweep"])
def test_repeats_can_be_counted_in_the_envelope(label):
    for scene, stems, _ in rendered(label):
        event, stem = dominant(scene, stems)
        power = np.convolve(np.square(stem, dtype=float), np.ones(480) / 480, "same")
        peaks = [power[round(s.onset_s * 16000) : round(s.offset_s * 16000)] for s in event.sounds]
        assert min(p.max() for p in peaks) > 0.01 * power.max()
        for a, b in pairwise(event.sounds):
            gap = power[round(a.offset_s * 16000) : round(b.onset_s * 16000)]
            quieter = min(cut(power, a).max(), cut(power, b).max())
            assert gap.min() < 0.3 * quieter
