"""Arguments of transformers' `from_pretrained`: mapped, or refused by name."""

import importlib.util

import pytest
import torch
import transformers
from transformers import BitsAndBytesConfig, GPTQConfig

from pal_plugin.hosts.huggingface.loading import settings_of


def test_what_our_loader_has_is_mapped():
    given = {"dtype": torch.bfloat16, "attn_implementation": "eager", "device_map": {"": "cpu"}}
    settings, device = settings_of({**given, "llm": "folder", "trust_remote_code": None})
    assert settings == {"dtype": "bfloat16", "attn_implementation": "eager", "llm": "folder"}
    assert device == torch.device("cpu")
    assert settings_of({"torch_dtype": "auto", "revision": None}) == ({}, None)
    assert settings_of({"torch_dtype": "float16"})[0] == {"dtype": "float16"}


@pytest.mark.skipif(
    transformers.__version__ < "5" and not importlib.util.find_spec("bitsandbytes"),
    reason="transformers 4 makes a BitsAndBytesConfig of 4 bit with bitsandbytes only",
)
def test_four_and_eight_bit():
    four = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True
    )
    assert settings_of({"quantization_config": four})[0] == {"quantize": "4bit"}
    assert settings_of({"quantization_config": {"load_in_8bit": True}})[0] == {"quantize": "8bit"}
    assert settings_of({"load_in_8bit": True})[0] == {"quantize": "8bit"}
    with pytest.raises(ValueError, match="bnb_4bit_quant_type='fp4'"):
        settings_of({"quantization_config": BitsAndBytesConfig(load_in_4bit=True)})
    with pytest.raises(ValueError, match="GPTQConfig"):
        settings_of({"quantization_config": GPTQConfig(bits=4)})


def test_what_it_has_not_is_named():
    with pytest.raises(ValueError, match="max_memory"):
        settings_of({"max_memory": {0: "1GB"}})
    with pytest.raises(ValueError, match="revision"):
        settings_of({"revision": "v2"})
    with pytest.raises(ValueError, match="one device"):
        settings_of({"device_map": {"a": 0, "b": 1}})
