"""Tokens by temperature, share and seed, as transformers' `generate` would choose them."""

import pytest
import torch
from transformers import GenerationConfig

from pal_plugin.serving.requests import Request
from pal_plugin.serving.sampling import Choice, defaults_of

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0])
CPU = torch.device("cpu")


def choice(defaults=(), **request):
    return Choice(Request([], **request), defaults, CPU)


def test_greedy_is_the_likeliest():
    assert choice().is_likeliest
    assert choice()([], LOGITS) == 0
    assert not choice(temperature=1.0).is_likeliest


def test_tokens_come_as_often_as_they_are_likely():
    draw = choice(temperature=2.0, seed=0)
    counts = torch.bincount(torch.tensor([draw([], LOGITS) for _ in range(1500)]), minlength=4)
    torch.testing.assert_close(counts / 1500, (LOGITS / 2).softmax(-1), atol=0.05, rtol=0)
    narrow = choice(temperature=1.0, top_p=0.8, seed=0)  # 0.64, 0.24, ...
    assert {narrow([], LOGITS) for _ in range(100)} == {0, 1}


def test_a_seed_gives_the_same_tokens_and_none_others():
    def drawn(seed):
        draw = choice(temperature=3.0, seed=seed)
        return [draw([], LOGITS) for _ in range(20)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert drawn(None) != drawn(None)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    drawn(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_the_llm_asks_of_every_answer():
    assert defaults_of(GenerationConfig()) == []
    config = GenerationConfig(
        repetition_penalty=4.0, temperature=0.7, top_k=20, suppress_tokens=[1]
    )
    penalised = choice(defaults_of(config))
    assert not penalised.is_likeliest
    assert penalised([], LOGITS) == 0
    assert penalised([0, 0], LOGITS + 1) == 2  # 3 / 4 is less than 1; 1 is suppressed
    with pytest.raises(ValueError, match="sets bad_words_ids, min_new_tokens, which is not"):
        defaults_of(GenerationConfig(bad_words_ids=[[1]], min_new_tokens=2))
