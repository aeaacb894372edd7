"""Small models and their skeletons."""

import pytest
import torch

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.planning.skeleton import build_skeleton

STAGES = {
    "frozen": {"llm": "frozen"},
    "lora": {"llm": "lora", "lora_targets": "attention_ffn"},
    "full": {"llm": "full"},
    "aligns": {"aligns": "speech"},
    "encoders": {"llm": "frozen", "encoders": "full"},
}
CASES = [
    (kind, stage)
    for kind in ("lal", "plits", "pal", "flamingo")
    for stage in STAGES
    if stage != "aligns"
]


@pytest.fixture
def pair(tiny_config):
    """`pair(kind, stage)` -> the model with weights, and its skeleton."""

    def make(kind, stage, **llm):
        cfg = tiny_config(kind, **STAGES[stage])
        cfg["llm"] = {**cfg["llm"], **llm}
        torch.manual_seed(0)
        return AudioLLM.from_config(cfg).train(), build_skeleton(cfg)

    return make


@pytest.fixture
def skeleton(tiny_config):
    return lambda kind="pal", **stage: build_skeleton(tiny_config(kind, **stage))
