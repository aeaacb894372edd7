"""Models whose trained weights are random."""

import pytest
import torch

from pal_plugin.models.audio_llm import AudioLLM


@pytest.fixture
def trained(tiny_config):
    """`trained("lal", llm="lora")`: a model whose trained weights are random."""

    def make(model_type="lal", **stage):
        torch.manual_seed(0)
        model = AudioLLM.from_config(tiny_config(model_type, **stage)).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        return model

    return make
