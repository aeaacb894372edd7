"""Audio for training, changed at random; in a fixed number of variants where states are kept."""

import random

import numpy as np
import pytest
import soundfile
import torch

from pal_plugin.audio.augment import Augment
from pal_plugin.encoders.cache_shards import StateShards
from pal_plugin.processors.augmented import AugmentedAudioProcessor
from pal_plugin.utils.errors import ConfigError

ENCODERS = {
    "sslam": {"type": "sslam", "features": {"window_s": 1.28}, "cache": {"variants": 3}},
    "whisper": {"type": "whisper", "features": {"window_s": 1.28}},
}
CLAP = {"clap": {"type": "clap", "features": {"window_s": 5.0, "hop_length": 960}}}
MASKED = Augment(gain_db=(-6.0, 6.0), mel_masks=2, time_masks=2, time_mask_share=0.3)
RATE_HZ = 16000


def noise(seed=0):
    samples = np.random.default_rng(seed).standard_normal(RATE_HZ)
    return (0.1 * samples).astype(np.float32), RATE_HZ


def processor(folder, augment=MASKED, encoders=ENCODERS):
    made = AugmentedAudioProcessor(encoders, augment)
    made.look_in({"sslam": StateShards(folder, "space")})
    return made


def variant(of, number, clip=None):
    of.variant = number
    return of(noise() if clip is None else clip)


def test_a_variant_follows_from_clip_and_number_alone(tmp_path):
    one, other = processor(tmp_path), processor(tmp_path)
    other.rng = random.Random(5)
    other(noise(1))
    for number in range(3):
        mine, theirs = variant(one, number), variant(other, number)
        assert mine["sslam"]["key"] == theirs["sslam"]["key"]
        for name in ENCODERS:
            assert torch.equal(mine[name]["features"], theirs[name]["features"])


def test_variants_and_clips_differ_in_key_and_sound(tmp_path):
    one = processor(tmp_path)
    made = [variant(one, number)["sslam"] for number in range(3)] + [
        variant(one, 0, noise(1))["sslam"]
    ]
    assert len({entry["key"] for entry in made}) == 4
    assert len({entry["features"].sum().item() for entry in made}) == 4


def test_a_call_draws_one_of_so_many_variants_and_can_be_repeated(tmp_path):
    one = processor(tmp_path)
    fixed = {variant(one, number)["sslam"]["key"] for number in range(3)}
    one.variant = None
    drawn = []
    for turn in range(20):
        one.reseed(f"{turn}")
        drawn.append(one(noise())["sslam"]["key"])
    assert set(drawn) == fixed
    one.reseed("7")
    assert one(noise())["sslam"]["key"] == drawn[7]


def test_masks_do_not_depend_on_which_encoders_are_known(tmp_path):
    both = variant(processor(tmp_path), 1)
    alone = processor(tmp_path)
    alone.variant, found = 1, {}
    alone.frontend.find_or_make = lambda key, make: found.update(make(["whisper"]))
    alone(noise())
    assert list(found) == ["whisper"]
    assert torch.equal(found["whisper"]["features"], both["whisper"]["features"])


def test_settings_and_recordings_belong_to_the_key_and_their_names_do_not(tmp_path):
    def key(augment):
        return variant(processor(tmp_path / "states", augment), 0)["sslam"]["key"]

    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        folder.mkdir()
        soundfile.write(folder / f"{folder.name}.wav", noise(seed)[0], RATE_HZ)
    keys = [key(Augment(mix=str(folder))) for folder in folders]
    assert keys[0] == keys[1] != keys[2]
    assert key(Augment(mix=str(folders[0]), mix_snr_db=(5.0, 6.0))) != keys[0]
    assert key(MASKED) != key(Augment(gain_db=(-6.0, 6.0)))


def test_the_number_of_variants_must_be_given():
    encoders = {"sslam": {"type": "sslam", "cache": True}}
    with pytest.raises(ConfigError, match=r"sslam.*variants: 4"):
        AugmentedAudioProcessor(encoders, MASKED)


def test_the_processor_refuses_unknown_changes():
    cls = AugmentedAudioProcessor
    with pytest.raises(ConfigError, match=r"gain_dbs.*Did you mean 'gain_db'"):
        cls.from_config({"encoders": CLAP, "augment": {"gain_dbs": [0, 1]}})
    with pytest.raises(ConfigError, match=r"gain_db must be \[low, high\]"):
        cls.from_config({"encoders": CLAP, "augment": {"gain_db": [1, 0]}})


def test_changes_follow_the_key_that_a_clip_is_given():
    processor = AugmentedAudioProcessor.from_config(
        {"encoders": CLAP, "augment": {"gain_db": [-20, 0]}}
    )
    clip = (
        0.1 * np.random.default_rng(0).standard_normal(RATE_HZ // 5).astype(np.float32),
        RATE_HZ,
    )

    def heard(key):
        processor.reseed(key)
        return processor(clip)["clap"]["features"]

    first = heard("pass 0")
    assert torch.equal(heard("pass 0"), first)
    assert not torch.equal(heard("pass 1"), first)
