"""config.json of a model's folder as a `PretrainedConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig

from pal_plugin.models.interchange import MODEL_TYPE


class PalConfig(PretrainedConfig):
    """The configuration of an audio-LLM.

    Args:
        text_config: that of the LLM.
        model: the `model:` section (docs/configuration.md).
        facts: the other keys that `AudioLLM.save_pretrained` writes, and transformers' own.
    """

    model_type = MODEL_TYPE
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 - as transformers has it

    def __init__(
        self,
        text_config: Mapping[str, Any] | PretrainedConfig | None = None,
        model: Mapping[str, Any] | None = None,
        **facts: Any,
    ) -> None:
        if isinstance(text_config, Mapping):
            kind = CONFIG_MAPPING[text_config.get("model_type", "llama")]
            text_config = kind(**text_config)
        self.text_config = text_config if text_config is not None else CONFIG_MAPPING["llama"]()
        self.model = dict(model or {})
        super().__init__(**facts)
