"""Logits of hidden states equal those of the causal LM, whatever it puts behind its head."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    GraniteConfig,
    LlamaConfig,
)

from pal_plugin.llm.head import logits_of

SIZES = {
    "vocab_size": 11,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(**SIZES),
        GraniteConfig(**SIZES, logits_scaling=3.0),
        CohereConfig(**SIZES, logit_scale=0.25),
        Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=0.1),
    ],
    ids=lambda config: config.model_type,
)
@torch.no_grad()
def test_they_are_those_of_the_whole_model(config):
    torch.manual_seed(0)
    llm = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.tensor([[3, 4, 5], [6, 7, 8]])
    expected = llm(input_ids=ids).logits
    hidden = llm.get_decoder()(input_ids=ids).last_hidden_state
    torch.testing.assert_close(logits_of(llm, hidden), expected)
    torch.testing.assert_close(logits_of(llm, hidden[:, -1]), expected[:, -1])


def test_they_are_float32_and_need_the_llms_width():
    llm = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES), dtype=torch.bfloat16)
    assert logits_of(llm, torch.zeros(2, 16, dtype=torch.bfloat16)).dtype == torch.float32
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        logits_of(llm, torch.zeros(2, 15, dtype=torch.bfloat16))
