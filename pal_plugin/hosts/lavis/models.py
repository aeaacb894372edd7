"""The model for LAVIS: arch `pal`, types `lal`, `plits`, `pal`, `flamingo` and `full`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import ClassVar

from lavis.common.registry import registry
from lavis.models.base_model import BaseModel
from omegaconf import OmegaConf

from pal_plugin.config.zoo import MODEL_TYPES, type_config, type_section
from pal_plugin.models.audio_llm import AudioLLM


@registry.register_model("pal")
class PALModel(AudioLLM, BaseModel):
    """`load_model("pal", "lal" | "plits" | "pal" | "flamingo")`; `full` is the base of the
    full-size recipes of projects/pal."""

    PRETRAINED_MODEL_CONFIG_DICT: ClassVar = {name: str(p) for name, p in MODEL_TYPES.items()}

    @classmethod
    def default_config_path(cls, model_type: str) -> io.StringIO:
        """A type's configuration as an open file: LAVIS passes it to `OmegaConf.load`, which would
        not resolve the `base:` of the file itself."""
        config = type_config(model_type, cls.PRETRAINED_MODEL_CONFIG_DICT)
        return io.StringIO(OmegaConf.to_yaml(OmegaConf.create(config)))

    @classmethod
    def from_pretrained(
        cls, source: str | Path | None = None, *, model_type: str | None = None, **overrides
    ) -> PALModel:
        """As `AudioLLM.from_pretrained`, or from a type, as LAVIS calls it.

        Args:
            source: see `AudioLLM.from_pretrained`.
            model_type: a type; LAVIS sets train or eval mode itself.
            overrides: of the configuration.

        Raises:
            ValueError: neither or both are given, or invalid overrides of a type.
            CheckpointError: as in `AudioLLM.from_pretrained`.
        """
        types = cls.PRETRAINED_MODEL_CONFIG_DICT
        if (source is None) == (model_type is None):
            raise ValueError(
                f"expected a type ({', '.join(types)}), a folder of save_pretrained, or "
                f"owner/name of the hub; got source={source!r} and model_type={model_type!r}"
            )
        if source is not None:
            return super().from_pretrained(source, **overrides)
        return cls.from_config(type_section(model_type, types, **overrides))
