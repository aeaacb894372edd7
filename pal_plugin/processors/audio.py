"""`pal_audio`: a clip, in whatever form, to the features of every encoder.

LAVIS's `load_model_and_preprocess` reads the slots `vis_processor` and `text_processor` only, so
the models' `preprocess:` names this processor under `vis_processor`; datasets name it under
`audio_processor`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lavis.common.registry import registry
from lavis.processors.base_processor import BaseProcessor
from omegaconf import OmegaConf

from pal_plugin.encoders.frontend import AudioFrontend, Features

_DEFAULT_MODEL = Path(__file__).parent.parent / "configs" / "models" / "pal_lal.yaml"


@registry.register_processor("pal_audio")
class PalAudioProcessor(BaseProcessor):
    """Wraps `AudioFrontend`.

    Args:
        encoders: `{name: {"type": ..., "features": {...}}}`, as in `model.encoders`.
    """

    def __init__(self, encoders: dict[str, dict[str, Any]]) -> None:
        # Not BaseProcessor's own initialiser: its lambda could not travel to a data worker.
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
    def from_config(cls, cfg: Any = None) -> PalAudioProcessor:
        """From `{name: pal_audio, encoders: ...}`; without encoders, those of the pocket model."""
        encoders = None if cfg is None else cfg.get("encoders")
        return cls(default_encoders() if encoders is None else _plain(encoders))


def default_encoders() -> dict[str, dict[str, Any]]:
    """The encoders of the package's default model."""
    return _plain(OmegaConf.load(_DEFAULT_MODEL).model.encoders)


def _plain(encoders: Any) -> dict[str, dict[str, Any]]:
    if OmegaConf.is_config(encoders):
        encoders = OmegaConf.to_container(encoders, resolve=True)
    return {name: entry for name, entry in encoders.items() if entry is not None}
