"""`pal_audio_augmented`: `pal_audio` for training, with data augmentation.

Augmentations are those of `pal_plugin.audio.augment`. For reproducible augmentation, datasets call
`reseed` before each clip; otherwise it depends on the order of calls.

With cached encoder states (`cache`), each clip has a fixed number of augmented variants, of which a
call draws one. All randomness of a variant is seeded by the clip and the variant's index.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.audio.augment import Augment
from pal_plugin.audio.features import Features
from pal_plugin.audio.identity import identified
from pal_plugin.audio.io import load_audio
from pal_plugin.encoders.cache import settings_of
from pal_plugin.encoders.cache_shards import StateShards
from pal_plugin.processors.audio import AudioProcessor, encoders_of
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean


class AugmentedAudioProcessor(AudioProcessor):
    """Wraps `AudioFrontend` and `Augment`.

    Args:
        encoders: as for `pal_audio`.
        augment: the augmentations.

    Attributes:
        variant: index of the variant to compute, if states are cached; None draws one.

    Raises:
        ConfigError: if states are cached but the number of variants is not set.
    """

    variant: int | None = None

    def __init__(self, encoders: dict[str, dict[str, Any]], augment: Augment) -> None:
        super().__init__(encoders)
        self.augment = augment
        self.rng = random.Random(0)
        self.variants = next((c.variants for c in self.frontend.caches.values()), 1)
        if self.variants is None:
            raise ConfigError(
                f"{', '.join(self.frontend.caches)}: caching augmented clips needs a fixed "
                "number of variants per clip; set for example cache: {variants: 4}"
            )

    def reseed(self, key: str) -> None:
        """Seeds the augmentation of the next clip by `key`."""
        self.rng = random.Random(key)

    def __call__(self, item: Any) -> Features:
        """The features or cached states of the augmented clip; see `AudioProcessor`."""
        if self.frontend.shards:
            return self._variant(item)
        waveform, rate_hz = load_audio(item)
        changed = self.augment.waveform(waveform, rate_hz, self.rng)
        made = self.frontend((changed, rate_hz))
        return self.augment.features(made, self.rng, self.frontend.features)

    def look_in(self, shards: Mapping[str, StateShards]) -> None:
        """As `AudioProcessor`; also hashes the recordings that are mixed in."""
        super().look_in(shards)
        self._augmented_by = self.augment.identity() if shards else ""

    def _variant(self, item: Any) -> Features:
        clip, item = identified(item)
        number = self.rng.randrange(self.variants) if self.variant is None else self.variant
        key = hashlib.sha256(f"{clip} {self._augmented_by} {number}".encode()).hexdigest()

        def make(names: list[str]) -> Features:
            waveform, rate_hz = load_audio(item)
            changed = self.augment.waveform(waveform, rate_hz, random.Random(key))
            front_ends, made = self.frontend.features, {}
            for name, entry in self.frontend.make((changed, rate_hz), names).items():
                # Seeded per encoder, so that results do not depend on the other encoders.
                rng = random.Random(f"{key} {sorted(settings_of(front_ends[name]).items())}")
                made |= self.augment.features({name: entry}, rng, front_ends)
            return made

        return self.frontend.find_or_make(key, make)

    @classmethod
    def from_config(cls, cfg: Any = None) -> AugmentedAudioProcessor:
        """Builds from `{name: pal_audio_augmented, encoders: ..., augment: {...}}`.

        Raises:
            ConfigError: if a key of `augment` is unknown, or its value invalid.
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
