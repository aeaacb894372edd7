"""Backgrounds: the ratio that is asked for, the seed, lengths, silence, and broken files."""

import math
import random

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("lavis", reason="LAVIS is not installed")

from lavis.processors import load_processor
from omegaconf import OmegaConf

from pal_plugin.audio.augment import Augment
from pal_plugin.audio.background import Backgrounds
from pal_plugin.utils.errors import ConfigError

RATE_HZ = 16000
ENCODERS = {"whisper": {"type": "whisper", "features": {"window_s": 1.0}}}


def write(path, seconds, rate_hz=RATE_HZ, hz=None, seed=0):
    """Noise, or a tone, of 0.1 in level."""
    samples = round(seconds * rate_hz)
    sound = 0.1 * np.random.default_rng(seed).standard_normal(samples)
    if hz:
        sound = 0.14 * np.sin(2 * np.pi * hz * np.arange(samples) / rate_hz)
    soundfile.write(path, sound, rate_hz, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


@pytest.fixture
def folder(tmp_path):
    """Recordings of other lengths, rates and channels, and a file that is no audio."""
    (tmp_path / "deeper").mkdir()
    write(tmp_path / "long.wav", 9.0, 44100, seed=1)
    write(tmp_path / "short.wav", 0.3, 8000, seed=2)
    write(tmp_path / "deeper" / "same.FLAC", 2.0, RATE_HZ, seed=3)
    stereo = 0.1 * np.random.default_rng(4).standard_normal((48000, 2))
    soundfile.write(tmp_path / "stereo.wav", stereo, 48000)
    (tmp_path / "notes.csv").write_text("no audio")
    return tmp_path


def level_db(waveform):
    return 10 * math.log10(float(waveform.square().mean()))


def tone(seconds=2.0, hz=440.0):
    return 0.2 * torch.sin(2 * math.pi * hz * torch.arange(round(seconds * RATE_HZ)) / RATE_HZ)


@pytest.mark.parametrize("loop", [True, False])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 25.0])
@pytest.mark.parametrize("seconds", [0.01, 0.7, 2.0, 12.0])
def test_the_ratio_is_reached_and_the_length_kept(folder, seconds, snr_db, loop):
    clip = tone(seconds)
    before = clip.clone()
    augment = Augment(
        mix=str(folder), mix_snr_db=(snr_db, snr_db), mix_probability=1.0, mix_loop=loop
    )
    for seed in range(6):
        changed = augment.waveform(clip, RATE_HZ, random.Random(seed))
        assert changed.shape == clip.shape
        assert changed.dtype == torch.float32
        assert level_db(clip) - level_db(changed - clip) == pytest.approx(snr_db, abs=0.05)
    assert torch.equal(clip, before)


def test_what_is_heard_follows_the_seed_alone(folder):
    augment = Augment(mix=str(folder), mix_probability=1.0)
    listed = Augment(
        mix=tuple(str(p) for p in reversed(Backgrounds(folder).files)), mix_probability=1
    )
    heard = [augment.waveform(tone(), RATE_HZ, random.Random(seed)) for seed in range(8)]
    again = [listed.waveform(tone(), RATE_HZ, random.Random(seed)) for seed in range(8)]
    assert all(torch.equal(a, b) for a, b in zip(heard, again, strict=True))
    assert len({float(clip.square().sum()) for clip in heard}) == 8


def test_every_file_and_every_start_is_used(folder):
    backgrounds = Backgrounds(folder)
    assert [path.name for path in backgrounds.files] == [
        "same.FLAC",
        "long.wav",
        "short.wav",
        "stereo.wav",
    ]
    ramp = np.arange(4 * RATE_HZ, dtype=np.float32) / (4 * RATE_HZ)
    soundfile.write(folder / "ramp.wav", ramp, RATE_HZ, subtype="FLOAT")
    alone = Backgrounds([folder / "ramp.wav"])
    starts = [float(alone.excerpt(RATE_HZ, RATE_HZ, random.Random(k))[0]) for k in range(40)]
    assert min(starts) < 0.1
    assert 0.65 < max(starts) <= 0.75


def test_a_short_recording_is_repeated_or_surrounded_by_silence(tmp_path):
    ramp = torch.arange(1, 101) / 128
    soundfile.write(tmp_path / "r.wav", ramp.numpy(), RATE_HZ, subtype="FLOAT")
    for seed in range(5):
        looped = Backgrounds([tmp_path / "r.wav"]).excerpt(350, RATE_HZ, random.Random(seed))
        assert torch.equal(looped[100:], looped[:-100])
        assert torch.equal(looped[:100].sort().values, ramp)
        once = Backgrounds([tmp_path / "r.wav"], loop=False)
        padded = once.excerpt(350, RATE_HZ, random.Random(seed))
        assert torch.equal(padded[padded > 0], ramp)
        assert padded.shape == (350,)


def test_recordings_are_resampled_to_the_clips_rate(tmp_path):
    write(tmp_path / "tone.wav", 3.0, 44100, hz=1000)
    excerpt = Backgrounds(tmp_path).excerpt(RATE_HZ, RATE_HZ, random.Random(0))
    strongest = int(torch.fft.rfft(excerpt).abs().argmax()) * RATE_HZ / len(excerpt)
    assert strongest == pytest.approx(1000, abs=1)


def test_silence_has_no_ratio_and_stays(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE_HZ), RATE_HZ)
    augment = Augment(mix=str(tmp_path), mix_probability=1.0)
    assert torch.equal(augment.waveform(tone(), RATE_HZ, random.Random(0)), tone())
    write(tmp_path / "silent.wav", 1.0)
    silence = torch.zeros(RATE_HZ)
    assert torch.equal(augment.waveform(silence, RATE_HZ, random.Random(0)), silence)


def test_the_share_of_clips_is_the_probability(folder):
    augment = Augment(mix=str(folder), mix_probability=0.3)
    clip = tone(0.05)
    changed = [
        not torch.equal(augment.waveform(clip, RATE_HZ, random.Random(k)), clip) for k in range(200)
    ]
    assert 0.2 < np.mean(changed) < 0.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mix": "{}/empty"}, r"no audio files in the folder .*empty.*\bwav\b"),
        ({"mix": "{}/absent"}, "absent is not a folder"),
        ({"mix": "{}/long.wav"}, "is not a folder; give a folder or a list"),
        ({"mix": []}, "no audio files in the list"),
        ({"mix": ["{}/long.wav", "{}/gone.wav"]}, r"no file .*gone\.wav"),
        ({"mix": "{}", "mix_snr_db": [20, 10]}, "mix_snr_db must be"),
        ({"mix": "{}", "mix_snr_db": None}, "mix_snr_db must be"),
        ({"mix": "{}", "mix_probability": 1.5}, "mix_probability must be 0..1"),
        ({"mixx": "{}"}, "unknown key 'mixx'. Did you mean 'mix'"),
    ],
)
def test_senseless_settings_are_refused_at_once(folder, settings, message):
    (folder / "empty").mkdir()
    (folder / "empty" / "readme.txt").write_text("")

    def filled(value):
        if isinstance(value, list):
            return [filled(item) for item in value]
        return value.format(folder) if isinstance(value, str) else value

    settings = {key: filled(value) for key, value in settings.items()}
    cfg = OmegaConf.create({"encoders": ENCODERS, "augment": settings})
    with pytest.raises(ConfigError, match=message):
        load_processor("pal_audio_augmented", cfg)


def test_a_broken_recording_is_named_and_is_not_the_clips_fault(tmp_path):
    data = write(tmp_path / "whole.wav", 1.0).read_bytes()
    (tmp_path / "whole.wav").unlink()
    (tmp_path / "broken.wav").write_bytes(data[: len(data) // 2])
    augment = Augment(mix=str(tmp_path), mix_probability=1.0)
    with pytest.raises(ConfigError, match=r"augment\.mix: .*broken\.wav: it is truncated"):
        augment.waveform(tone(), RATE_HZ, random.Random(0))


def test_the_processor_is_reseeded(folder):
    cfg = OmegaConf.create(
        {"encoders": ENCODERS, "augment": {"mix": str(folder), "mix_probability": 1.0}}
    )
    processor = load_processor("pal_audio_augmented", cfg)
    clip = (tone(1.0).numpy(), RATE_HZ)

    def heard(key):
        processor.reseed(key)
        return processor(clip)["whisper"]["features"]

    first = heard("0-birds-1-7")
    processor(clip)
    assert torch.equal(heard("0-birds-1-7"), first)
    assert not torch.equal(heard("0-birds-2-7"), first)
