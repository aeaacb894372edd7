"""What Hugging Face's loaders look for in a model's folder, beside our own files.

`hosts/huggingface` registers the classes named here; without it, the files are not read.

    config.json            (more keys) model_type, architectures, text_config
    processor_config.json  the front ends and the form of a prompt
    generation_config.json the defaults of `AudioLLM.generate`
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from pal_plugin.config.merging import present
from pal_plugin.models.components import ModelComponents

MODEL_TYPE = "pal"
ARCHITECTURE = "PalForConditionalGeneration"
PROCESSOR = "PalProcessor"
PROCESSOR_CONFIG = "processor_config.json"
MAX_NEW_TOKENS = 48
#: Of the LLM's own config: a path of this machine, and settings of how it was loaded.
_NOT_KEPT = ("_name_or_path", "quantization_config", "transformers_version")


def config_facts(model: ModelComponents) -> dict[str, Any]:
    """Keys of config.json from which AutoConfig knows the model."""
    text_config = json.loads(model.llm.config.to_json_string())
    for key in _NOT_KEPT:
        text_config.pop(key, None)
    return {
        "model_type": MODEL_TYPE,
        "architectures": [ARCHITECTURE],
        "text_config": text_config,
    }


def processor_facts(section: Mapping[str, Any], audio_place: str) -> dict[str, Any]:
    """The content of processor_config.json.

    Args:
        section: the model's configuration.
        audio_place: `llm.conversation.AUDIO_PLACES`.
    """
    encoders = {
        name: {"type": entry["type"], "features": dict(entry.get("features") or {})}
        for name, entry in present(section["encoders"]).items()
    }
    return {
        "processor_class": PROCESSOR,
        "encoders": encoders,
        "prompt": section["llm"].get("prompt", "chat"),
        "system": section["llm"].get("system"),
        "audio_place": audio_place,
    }


def generation_defaults(model: ModelComponents) -> GenerationConfig:
    """What `AudioLLM.generate` does if it is told nothing."""
    return GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=model.text.end_ids,
        pad_token_id=model.text.pad_id,
    )


def write(model: ModelComponents, section: Mapping[str, Any], folder: Path) -> None:
    """Writes the files besides config.json."""
    facts = processor_facts(section, model.audio_place)
    (folder / PROCESSOR_CONFIG).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    generation_defaults(model).save_pretrained(folder)
