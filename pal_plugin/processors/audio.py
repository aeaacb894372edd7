"""`pal_audio`: maps a clip, in any accepted form, to the features of every encoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.audio.features import Features
from pal_plugin.config.merging import present
from pal_plugin.config.zoo import type_config
from pal_plugin.encoders.cache_shards import StateShards
from pal_plugin.encoders.frontend import AudioFrontend


class AudioProcessor:
    """Wraps `AudioFrontend`.

    Args:
        encoders: `{name: {"type": ..., "features": {...}}}`, as in `model.encoders`.
    """

    def __init__(self, encoders: dict[str, dict[str, Any]]) -> None:
        self.frontend = AudioFrontend(encoders)

    def __call__(self, item: Any) -> Features:
        """The features of a clip, `{encoder: {"features": [W, ...], "frames": long [W]}}`, W
        windows.

        Args:
            item: path, bytes, file object or `(array, sample_rate_hz)`.

        Raises:
            AudioError: if the clip cannot be decoded.
        """
        return self.frontend(item)

    def look_in(self, shards: Mapping[str, StateShards]) -> None:
        """Enables lookups of cached encoder states, see `AudioFrontend.find_or_make`."""
        self.frontend.look_in(shards)

    @classmethod
    def from_config(cls, cfg: Any = None) -> AudioProcessor:
        """Builds from `{name: pal_audio, encoders: ...}`; encoders default to the package's."""
        return cls(encoders_of(cfg))


def encoders_of(cfg: Any) -> dict[str, dict[str, Any]]:
    """The encoders in a processor's configuration; else those of the default model."""
    encoders = None if cfg is None else cfg.get("encoders")
    if encoders is None:
        return default_encoders()
    if OmegaConf.is_config(encoders):
        encoders = OmegaConf.to_container(encoders, resolve=True)
    return present(encoders)


def default_encoders() -> dict[str, dict[str, Any]]:
    """Encoder settings of the package's default model."""
    return present(type_config("lal")["model"]["encoders"])
