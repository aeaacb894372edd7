"""What transformers' Auto classes and tables know after the import."""

import pytest
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor
from transformers.models.auto import modeling_auto

from pal_plugin.hosts.huggingface.configuration import PalConfig
from pal_plugin.hosts.huggingface.modeling import PalForConditionalGeneration
from pal_plugin.hosts.huggingface.processing import PalProcessor
from pal_plugin.hosts.huggingface.registration import register_all


def test_registering_twice_is_registering_once():
    register_all()
    register_all()
    assert type(AutoConfig.for_model("pal")) is PalConfig
    names = getattr(modeling_auto, "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES", None)
    assert names is None or names["pal"] == PalForConditionalGeneration.__name__


@pytest.mark.slow
def test_a_folder_of_audio_llm_is_loaded_by_the_auto_classes(stored):
    _, folder = stored("pal", llm="lora")
    assert type(AutoProcessor.from_pretrained(folder)) is PalProcessor
    multimodal = getattr(transformers, "AutoModelForMultimodalLM", AutoModelForCausalLM)
    for auto in (AutoModelForCausalLM, multimodal):
        assert type(auto.from_pretrained(folder)) is PalForConditionalGeneration
