"""`pal_audio`: a clip, in whatever form, to the features of every encoder."""

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
        """`{encoder: {"features": [W, ...], "frames": Long[W]}}` of one clip.

        Args:
            item: path, bytes, file object or `(array, sample_rate_hz)`.

        Raises:
            AudioError: the clip cannot be used.
        """
        return self.frontend(item)

    def look_in(self, shards: Mapping[str, StateShards]) -> None:
        """Look the encoders' states up there from now on; `AudioFrontend.find_or_make` says how."""
        self.frontend.look_in(shards)

    @classmethod
    def from_config(cls, cfg: Any = None) -> AudioProcessor:
        """From `{name: pal_audio, encoders: ...}`; without encoders, those of the pocket model."""
        return cls(encoders_of(cfg))


def encoders_of(cfg: Any) -> dict[str, dict[str, Any]]:
    """The encoders that a processor's configuration names; else those of the default model."""
    encoders = None if cfg is None else cfg.get("encoders")
    if encoders is None:
        return default_encoders()
    if OmegaConf.is_config(encoders):
        encoders = OmegaConf.to_container(encoders, resolve=True)
    return present(encoders)


def default_encoders() -> dict[str, dict[str, Any]]:
    """The encoders of the package's default model."""
    return present(type_config("lal")["model"]["encoders"])
