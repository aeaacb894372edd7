"""Augmentation: what each change does, that it follows from the seed, and what is refused."""

import math
import random
from types import SimpleNamespace

import pytest
import torch

from pal_plugin.audio.augment import Augment, tilt
from pal_plugin.encoders import build_features

RATE_HZ = 16000


def sine(hz, seconds=2.0):
    return torch.sin(2 * math.pi * hz * torch.arange(int(RATE_HZ * seconds)) / RATE_HZ)


def level_db(waveform):
    return 10 * math.log10(float(waveform.square().mean()))


def strongest_hz(waveform):
    return float(torch.fft.rfft(waveform).abs().argmax()) * RATE_HZ / len(waveform)


def test_nothing_is_changed_unless_asked_for():
    clip = torch.randn(1000)
    features = {"a": {"features": torch.randn(1, 1, 10, 4), "frames": torch.tensor([10])}}
    assert torch.equal(Augment().waveform(clip, RATE_HZ, random.Random(0)), clip)
    assert Augment().features(features, random.Random(0), {}) is features


def test_the_same_seed_gives_the_same_clip_and_another_seed_another():
    clip = torch.randn(6 * RATE_HZ)
    augment = Augment(
        crop_s=5.0,
        shift_s=1.0,
        gain_db=(-6, 6),
        speed=(0.8, 1.2),
        tilt_db_per_octave=(-2, 2),
        noise_snr_db=(5, 20),
        noise_probability=1.0,
    )
    before = clip.clone()
    once, again, other = (augment.waveform(clip, RATE_HZ, random.Random(k)) for k in (1, 1, 2))
    assert torch.equal(once, again)
    assert once.shape != other.shape or not torch.equal(once, other)
    assert torch.equal(clip, before)
    assert torch.isfinite(once).all()


def test_crop_takes_a_random_part_of_long_clips_only():
    ramp = torch.arange(10 * RATE_HZ, dtype=torch.float32)
    augment, starts = Augment(crop_s=5.0), set()
    for seed in range(8):
        part = augment.waveform(ramp, RATE_HZ, random.Random(seed))
        assert len(part) == 5 * RATE_HZ
        assert torch.equal(part, ramp[int(part[0]) : int(part[0]) + len(part)])
        starts.add(int(part[0]))
    assert len(starts) == 8
    assert len(augment.waveform(ramp[:100], RATE_HZ, random.Random(0))) == 100
    some = Augment(crop_s=5.0, crop_probability=0.5)
    lengths = {len(some.waveform(ramp, RATE_HZ, random.Random(k))) for k in range(20)}
    assert lengths == {5 * RATE_HZ, 10 * RATE_HZ}


def test_shift_puts_silence_in_front_and_never_beyond_the_window():
    clip = torch.ones(RATE_HZ)
    augment = Augment(crop_s=1.5, shift_s=3.0)
    for seed in range(8):
        shifted = augment.waveform(clip, RATE_HZ, random.Random(seed))
        front = len(shifted) - len(clip)
        assert 0 <= front <= RATE_HZ // 2
        assert not shifted[:front].any()
        assert torch.equal(shifted[front:], clip)


def test_gain_is_in_decibels():
    louder = Augment(gain_db=(6.0, 6.0)).waveform(sine(440), RATE_HZ, random.Random(0))
    assert level_db(louder) - level_db(sine(440)) == pytest.approx(6.0, abs=0.01)


def test_faster_is_shorter_and_higher():
    fast = Augment(speed=(1.1, 1.1)).waveform(sine(1000), RATE_HZ, random.Random(0))
    assert len(fast) == math.ceil(2 * RATE_HZ / 1.1)
    assert strongest_hz(fast) == pytest.approx(1100, abs=2)


def test_noise_has_the_asked_ratio():
    clip = sine(440)
    augment = Augment(noise_snr_db=(10.0, 10.0), noise_probability=1.0)
    noise = augment.waveform(clip, RATE_HZ, random.Random(3)) - clip
    assert level_db(clip) - level_db(noise) == pytest.approx(10.0, abs=0.05)


def test_tilt_turns_around_1_khz():
    for hz, expected_db in ((500, -2.0), (1000, 0.0), (4000, 4.0)):
        change = level_db(tilt(sine(hz), RATE_HZ, 2.0)) - level_db(sine(hz))
        assert change == pytest.approx(expected_db, abs=0.1)


@pytest.mark.parametrize("layout", ["[W, 1, T, mels]", "[W, T, mels]", "[W, mels, T]"])
def test_masks_set_bands_of_the_valid_part_to_its_mean(layout):
    torch.manual_seed(0)
    mel = torch.randn(2, 20, 50)  # [W, mels, T]
    valid = [50, 10]
    front_end = SimpleNamespace(mel_axis=-2 if layout == "[W, mels, T]" else -1)
    given = mel if layout == "[W, mels, T]" else mel.transpose(1, 2).contiguous()
    given = given[:, None] if layout == "[W, 1, T, mels]" else given
    augment = Augment(time_masks=2, time_mask_share=0.3, mel_masks=2, mel_mask_share=0.3)
    changed_any = False
    for seed in range(5):
        entry = {"features": given.clone(), "frames": torch.tensor(valid)}
        made = augment.features({"a": entry}, random.Random(seed), {"a": front_end})
        out = made["a"]["features"]
        assert torch.equal(entry["features"], given)  # not in place
        out = out[:, 0] if layout == "[W, 1, T, mels]" else out
        out = out if layout == "[W, mels, T]" else out.transpose(1, 2)
        for window, frames in enumerate(valid):
            changed = out[window] != mel[window]
            assert not changed[:, frames:].any()
            mean = mel[window, :, :frames].mean()
            assert torch.allclose(out[window][changed], mean)
            changed_any |= bool(changed.any())
    assert changed_any


@pytest.mark.parametrize("encoder", ["ast", "clap", "sslam", "whisper"])
def test_each_front_end_says_where_its_mel_channels_are(encoder):
    front_end = build_features(encoder, {"window_s": 5.12})
    made = front_end(torch.randn(front_end.sample_rate_hz))
    valid = int(made["frames"][0])
    augment = Augment(time_masks=1, time_mask_share=0.5)
    out = augment.features({encoder: made}, random.Random(1), {encoder: front_end})
    changed = (out[encoder]["features"] != made["features"])[0]
    by_mel = changed.movedim(front_end.mel_axis, 0).flatten(1)  # [mels, T]
    assert by_mel.any()
    assert by_mel.shape[1] > 500
    assert not by_mel[:, valid:].any()
    assert torch.equal(by_mel, by_mel[:1].expand_as(by_mel))  # the same frames in all channels


def test_a_waveform_has_time_to_mask_but_no_mel_channels():
    waveform = torch.randn(1, 1000)
    entry = {"features": waveform.clone(), "frames": torch.tensor([600])}
    front_ends = {"mine": SimpleNamespace(mel_axis=None)}
    augment = Augment(time_masks=1, time_mask_share=0.5)
    out = augment.features({"mine": entry}, random.Random(1), front_ends)["mine"]["features"]
    changed = (out != waveform)[0]
    assert changed.any()
    assert not changed[600:].any()
    assert torch.allclose(out[0][changed], waveform[0, :600].mean())
    with pytest.raises(ValueError, match=r"mel_masks is 1, but the encoder 'mine' reads the wave"):
        Augment(mel_masks=1).features({"mine": entry}, random.Random(1), front_ends)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"gain_db": (6, -6)}, "gain_db"),
        ({"speed": (0.0, 1.0)}, "speed"),
        ({"noise_probability": 1.5}, "noise_probability"),
        ({"shift_s": 1.0}, "crop_s"),
        ({"crop_s": -1.0}, "crop_s"),
        ({"mel_masks": -1}, "mel_masks"),
    ],
)
def test_senseless_settings_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        Augment(**arguments)
