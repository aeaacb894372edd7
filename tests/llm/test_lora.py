"""LoRA: injected adapters, and their merge into a plain LLM that computes the same."""

import pytest
import torch

from pal_plugin.llm.loading import load_llm
from pal_plugin.llm.lora import add_lora, merge_lora


@pytest.mark.parametrize("targets", ["attention", "attention_ffn"])
def test_merging_leaves_a_plain_llm_that_computes_the_same(tiny_llm, targets):
    llm, _ = load_llm(tiny_llm)
    plain, _ = load_llm(tiny_llm)
    ids = torch.tensor([[5, 6, 7, 8]])
    add_lora(llm, targets)
    for name, parameter in llm.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    adapted = llm(input_ids=ids).logits
    assert merge_lora(llm) is llm
    assert list(llm.state_dict()) == list(plain.state_dict())
    merged = llm(input_ids=ids).logits
    assert (merged - adapted).abs().max() <= 1e-5 * adapted.abs().max()
    assert (merged - plain(input_ids=ids).logits).abs().max() > 0.1
    for name, module in llm.named_modules():
        assert type(module) is type(plain.get_submodule(name))
    assert llm.__dict__.keys() == plain.__dict__.keys()


def test_errors(tiny_llm):
    llm, _ = load_llm(tiny_llm)
    with pytest.raises(ValueError, match="no LoRA adapters"):
        merge_lora(llm)
    with pytest.raises(ValueError, match="'ffn'; known: attention, attention_ffn"):
        add_lora(llm, "ffn")
