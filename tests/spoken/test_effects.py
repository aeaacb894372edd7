"""What is done to speech, measured on the samples."""

import numpy as np
import pytest
import torch

from pal_plugin.spoken import effects


def tone(hz, seconds=0.5):
    return torch.sin(2 * torch.pi * hz * torch.arange(round(seconds * 16000)) / 16000)


def level(wave):
    return float(wave.square().mean().sqrt())


def slope_db_per_octave(wave):
    power = np.abs(np.fft.rfft(wave.numpy())) ** 2
    bands = [power[low : 2 * low].mean() for low in (1000, 2000, 4000)]
    return 10 * np.log10(bands[2] / bands[0]) / 2


@pytest.mark.parametrize(("colour", "expected"), [("white", 0), ("pink", -3), ("brown", -6)])
def test_noise_falls_as_its_colour_says(colour, expected):
    wave = effects.noise(colour, 16000, np.random.default_rng(0))
    assert slope_db_per_octave(wave) == pytest.approx(expected, abs=0.5)


def test_silence_is_around():
    padded = effects.with_silence(torch.ones(10), 0.001, 0.002)
    assert padded.tolist() == [0.0] * 16 + [1.0] * 10 + [0.0] * 32


def test_a_room_rings_after_the_sound_and_no_longer_than_the_clip():
    click = torch.zeros(16000)
    click[100] = 1.0
    wet = effects.in_room(click, 0.4, -6.0, np.random.default_rng(0))
    assert len(wet) == 16000
    assert wet[:100].abs().max() < 1e-4
    assert wet[100] == pytest.approx(1.0, abs=1e-4)
    assert 20 * torch.log10(wet[101:].norm()) == pytest.approx(-6.0, abs=0.1)
    assert wet[101:1701].square().sum() > 10 * wet[3301:4901].square().sum()


def test_a_telephone_keeps_the_low_and_loses_the_high():
    assert level(effects.by_telephone(tone(1000))) == pytest.approx(level(tone(1000)), rel=0.02)
    assert level(effects.by_telephone(tone(6000))) < 0.02


def test_babble_has_every_voice_equally_loud():
    mixed = effects.babble([tone(500, 0.25), 0.1 * tone(1500, 0.25)], 16000)
    spectrum = np.abs(np.fft.rfft(mixed.numpy()))
    assert len(mixed) == 16000
    assert spectrum[500] == pytest.approx(spectrum[1500], rel=0.05)


def test_the_level_is_kept_unless_it_would_clip():
    assert 20 * np.log10(level(effects.at_level(tone(500), -30.0))) == pytest.approx(-30, abs=0.01)
    click = torch.zeros(1000)
    click[5] = 0.3
    assert effects.at_level(click, -10.0).max() == pytest.approx(0.98)
    assert effects.at_level(torch.zeros(5), -10.0).tolist() == [0.0] * 5
