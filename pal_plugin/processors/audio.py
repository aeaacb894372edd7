"""`pal_audio`: a clip, in whatever form, to the features of every encoder."""

from __future__ import annotations

from typing import Any

from omegaconf import OmegaConf

from pal_plugin.config.registry import CONFIGS
from pal_plugin.config.run_files import read_run_file
from pal_plugin.encoders.frontend import AudioFrontend, Features


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

    @classmethod
    def from_config(cls, cfg: Any = None) -> AudioProcessor:
        """From `{name: pal_audio, encoders: ...}`; without encoders, those of the pocket model."""
        encoders = None if cfg is None else cfg.get("encoders")
        return cls(default_encoders() if encoders is None else plain_encoders(encoders))


def default_encoders() -> dict[str, dict[str, Any]]:
    """The encoders of the package's default model."""
    return read_run_file(CONFIGS / "models" / "pal_lal.yaml")["model"]["encoders"]


def plain_encoders(encoders: Any) -> dict[str, dict[str, Any]]:
    """Plain entries of encoders, without those that are taken out by null."""
    if OmegaConf.is_config(encoders):
        encoders = OmegaConf.to_container(encoders, resolve=True)
    return {name: entry for name, entry in encoders.items() if entry is not None}
