"""A full-size recipe with random weights, for the comparison on a GPU."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from pal_plugin.planning.shapes import llm_config


@pytest.fixture
def llama_1b_config():
    """`make(kind)` -> a plain `model:` section of full size, and a loader of random weights."""

    def make(kind):
        route = "plits" if kind == "plits" else "lal"
        cfg = {
            "encoders": {
                "sslam": {"type": "sslam", "features": {"window_s": 10.0}},
                "clap": {"type": "clap", "features": {"window_s": 10.0}},
            },
            "connectors": {"general": {"type": "lfst", "encoders": ["sslam", "clap"]}},
            "routing": {"general": {"integration": route}},
            "llm": {"path": "meta-llama/Llama-3.2-1B", "dtype": "bfloat16"},
            "stage": {"llm": "lora", "lora_targets": "attention_ffn"},
        }
        if kind == "pal":
            cfg["encoders"]["whisper"] = {"type": "whisper"}
            cfg["connectors"]["speech"] = {
                "type": "mlp",
                "encoders": ["whisper"],
                "args": {"pool": 17},
            }
            cfg["routing"]["speech"] = {"integration": "plits"}
        return cfg, _random

    return make


def _random(path, dtype, **_):
    config, _ = llm_config(path)
    return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)), None
