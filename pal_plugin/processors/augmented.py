"""`pal_audio_augmented`: `pal_audio` for training, with the clip changed before it is heard.

The changes are `pal_plugin.audio.augment`'s. A dataset that wants the same changes in every run
calls `reseed` before each clip; without it they follow from the order of the calls.
"""

from __future__ import annotations

import random
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.audio.augment import Augment
from pal_plugin.audio.features import Features
from pal_plugin.audio.io import load_audio
from pal_plugin.processors.audio import AudioProcessor, encoders_of
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean


class AugmentedAudioProcessor(AudioProcessor):
    """Wraps `AudioFrontend` and `Augment`.

    Args:
        encoders: as of `pal_audio`.
        augment: what is changed.
    """

    def __init__(self, encoders: dict[str, dict[str, Any]], augment: Augment) -> None:
        super().__init__(encoders)
        self.augment = augment
        self.rng = random.Random(0)

    def reseed(self, key: str) -> None:
        """Make the next clip's changes depend on `key` alone."""
        self.rng = random.Random(key)

    def __call__(self, item: Any) -> Features:
        """Features of the changed clip; see `AudioProcessor`."""
        waveform, rate_hz = load_audio(item)
        changed = self.augment.waveform(waveform, rate_hz, self.rng)
        made = self.frontend((changed, rate_hz))
        return self.augment.features(made, self.rng, self.frontend.features)

    @classmethod
    def from_config(cls, cfg: Any = None) -> AugmentedAudioProcessor:
        """From `{name: pal_audio_augmented, encoders: ..., augment: {...}}`.

        Raises:
            ConfigError: an unknown key of `augment`, or a value it cannot take.
        """
        settings = (cfg or {}).get("augment") or {}
        if OmegaConf.is_config(settings):
            settings = OmegaConf.to_container(settings, resolve=True)
        known = [field.name for field in fields(Augment)]
        for key in settings:
            if key not in known:
                raise ConfigError(f"augment: unknown key {key!r}. {did_you_mean(key, known)}")
        try:
            augment = Augment(**settings)
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error)) from error
        return cls(encoders_of(cfg), augment)
