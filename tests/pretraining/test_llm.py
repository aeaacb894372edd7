"""The text loss, and the LLM's recipe in miniature."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from pal_plugin.pretraining import llm
from pal_plugin.soundworld import text_corpus


def test_the_text_loss_weighs_answers():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = LlamaForCausalLM(config)
    answer, end = 3, 1
    ids = torch.tensor([[5, 6, answer, 7, 8, end, 9, 6, answer, 4, end, 5]])
    logp = model(input_ids=ids).logits.log_softmax(-1)
    losses = -logp[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
    # predicted: 6, mark, 7, 8, end, 9, 6, mark, 4, end, 5
    inside = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0], dtype=torch.bool)
    weights = torch.where(inside, 1.0, 0.1)
    expected = (losses * weights).sum() / weights.sum()
    got = llm.answer_weighted_loss(model, ids, answer, end, 0.1)
    assert torch.allclose(got, expected, rtol=1e-5)


def test_the_llm_recipe_in_miniature(tmp_path):
    size = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    llm.pretrain_llm(
        tmp_path, model=size, vocab_size=320, tokenizer_texts=50, steps=2, batch=2, length=32
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    text = next(text_corpus(3))
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
    assert max(ids) < model.config.vocab_size == len(tokenizer)
