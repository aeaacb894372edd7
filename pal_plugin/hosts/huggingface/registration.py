"""Registers configuration, model and processor with transformers' Auto classes."""

from __future__ import annotations

import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor
from transformers.models.auto import modeling_auto

from pal_plugin.hosts.huggingface.configuration import PalConfig
from pal_plugin.hosts.huggingface.modeling import PalForConditionalGeneration
from pal_plugin.hosts.huggingface.processing import PalProcessor
from pal_plugin.models.interchange import ARCHITECTURE, MODEL_TYPE

#: Tables of names that pipelines ask whether they take a model; not all versions have them.
_NAMES = ("MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",)


def register_all() -> None:
    """Registers with AutoConfig, AutoProcessor, AutoModelForCausalLM, and in transformers 5 with
    AutoModelForMultimodalLM. Idempotent."""
    AutoConfig.register(MODEL_TYPE, PalConfig, exist_ok=True)
    AutoProcessor.register(PalConfig, PalProcessor, exist_ok=True)
    multimodal = getattr(transformers, "AutoModelForMultimodalLM", None)
    for auto in filter(None, (AutoModelForCausalLM, multimodal)):
        auto.register(PalConfig, PalForConditionalGeneration, exist_ok=True)
    for table in _NAMES:
        getattr(modeling_auto, table, {}).setdefault(MODEL_TYPE, ARCHITECTURE)
