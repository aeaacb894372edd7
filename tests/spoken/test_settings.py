"""Settings: the shipped defaults, by split, and what is refused."""

import pytest

from pal_plugin.spoken.settings import SPLITS, Settings, default_build_info
from pal_plugin.utils.errors import ConfigError


def test_defaults_are_noisy_in_training_and_clean_elsewhere():
    train, val, test = (Settings.of_split(default_build_info(), split) for split in SPLITS)
    assert min(train.noise, train.telephone, train.reverb) > 0
    assert val == test
    assert val.noise == val.telephone == val.reverb == 0
    assert val.words_per_minute == train.words_per_minute


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("digits", 1.5, "digits must be a fraction"),
        ("noise", {"train": True}, "noise must be a fraction"),
        ("snr_db", [40, 8], r"snr_db must be \[low, high\]"),
        ("snr_db", 8, r"snr_db must be \[low, high\]"),
        ("digits", {"val": 0.5}, r"digits is set for \['val'\], but not for 'train'"),
        ("sequence_words", [1.5, 3], "sequence_words must be integers"),
        ("pitch", [0, 120], r"pitch must lie within 0\.\.99, got \[0, 120\]"),
    ],
)
def test_wrong_values_are_named(name, value, message):
    with pytest.raises(ConfigError, match=message):
        Settings.of_split({**default_build_info(), name: value}, "train")


def test_an_unknown_split_is_told():
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        Settings.of_split(default_build_info(), "trian")
