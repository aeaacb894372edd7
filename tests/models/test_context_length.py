"""Prompts and answers beyond the LLM's context: an error that counts both."""

import re
from types import SimpleNamespace

import pytest
import torch

from pal_plugin.models.completion import complete
from pal_plugin.models.context_length import check_context, positions_taken

QUESTION = "What do you hear?"


def clips_of(*seconds):
    return [(torch.zeros(int(16000 * s)).numpy(), 16000) for s in seconds]


@pytest.mark.parametrize("model_type", ["plits", "lal", "pal"])
def test_audio_takes_positions_whichever_way_it_goes(tiny_model, model_type):
    model = tiny_model(model_type)
    inputs = model.prompts({"audio": clips_of(1, 2), "text_input": [QUESTION, "Is it loud?"]})
    text, audio = inputs.count()
    assert positions_taken(inputs).tolist() == [t + a for t, a in zip(text, audio, strict=True)]


def test_cross_attention_takes_none(tiny_model):
    model = tiny_model("flamingo")
    inputs = model.prompts({"audio": clips_of(1), "text_input": [QUESTION]})
    assert positions_taken(inputs).tolist() == inputs.count()[0]


@pytest.mark.parametrize("model_type", ["plits", "lal", "pal"])
def test_what_is_too_long_is_counted(tiny_model, model_type):
    model = tiny_model(model_type)
    samples = {"audio": clips_of(1, 2), "text_input": [QUESTION, QUESTION]}
    inputs = model.prompts(samples)
    (_, text), (_, audio) = inputs.count()
    limit = model.decoder.config.max_position_embeddings = text + audio + 6
    model.generate(samples, max_new_tokens=6)
    check_context(model.decoder.config, inputs, 6)
    told = re.escape(
        f"the prompt has {text} tokens of text and {audio} of audio; with up to 7 of the answer "
        f"that is 1 more than the LLM's context of {limit}"
    )
    for ask in (model.generate, lambda *a, **k: complete(model, *a, **k)):
        with pytest.raises(ValueError, match=told):
            ask(samples, max_new_tokens=7)
    long = "a bell and a siren and a dog and rain"
    assert len(model.text.answer_ids(long)) > 6
    with pytest.raises(ValueError, match=f"up to {len(model.text.answer_ids(long))} of the answer"):
        model.predict_class(samples, ["bell", long])


def test_an_llm_without_a_limit_takes_everything(tiny_model):
    model = tiny_model("lal")
    inputs = model.prompts({"audio": clips_of(1), "text_input": [QUESTION]})
    check_context(SimpleNamespace(), inputs, 10**9)
