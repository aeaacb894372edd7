"""Audio for training, changed at random."""

import numpy as np
import pytest
import torch

from pal_plugin.processors import augmented
from pal_plugin.utils.errors import ConfigError

RATE_HZ = 16000
ENCODERS = {"clap": {"type": "clap", "features": {"window_s": 5.0, "hop_length": 960}}}


def test_the_processor_refuses_unknown_changes():
    cls = augmented.AugmentedAudioProcessor
    with pytest.raises(ConfigError, match=r"gain_dbs.*Did you mean 'gain_db'"):
        cls.from_config({"encoders": ENCODERS, "augment": {"gain_dbs": [0, 1]}})
    with pytest.raises(ConfigError, match=r"gain_db must be \[low, high\]"):
        cls.from_config({"encoders": ENCODERS, "augment": {"gain_db": [1, 0]}})


def test_changes_follow_the_key_that_a_clip_is_given():
    processor = augmented.AugmentedAudioProcessor.from_config(
        {"encoders": ENCODERS, "augment": {"gain_db": [-20, 0]}}
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
