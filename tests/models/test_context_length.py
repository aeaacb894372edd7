"""Prompts, answers and rows of training beyond the LLM's context: an error that counts both."""

import re
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel, OPTConfig, OPTForCausalLM

from pal_plugin.models import context_length
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.completion import complete
from pal_plugin.models.context_length import (
    ContextLengthError,
    check_context,
    check_rows,
    positions_taken,
)
from pal_plugin.utils.errors import UserError

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


IDS = ["clips/dog.wav#0", "clips/bell.wav#1"]


def to_learn(model, *seconds):
    """Two rows of training, of which the second has more text, and their text and audio tokens."""
    asked, answers = [QUESTION, "Is it loud?"], ["bell", "a bell and a siren and a dog and rain"]
    samples = {"audio": clips_of(*seconds), "text_input": asked}
    audio = model.prompts(samples).count()[1]
    rows = zip(asked, answers, strict=True)
    text = [len(model.text.prompt_ids(q) + model.text.answer_ids(a)) for q, a in rows]
    assert text[1] > text[0]
    return {**samples, "text_output": answers, "question_id": IDS}, text, audio


@pytest.mark.parametrize("model_type", ["plits", "lal", "pal"])
def test_a_row_of_training_that_is_too_long_is_named(tiny_model, model_type):
    model = tiny_model(model_type)
    samples, (_, text), (_, audio) = to_learn(model, 1, 2)
    model.decoder.config.max_position_embeddings = text + audio
    model(samples)["loss"].backward()
    model.decoder.config.max_position_embeddings = limit = text + audio - 1
    model.decoder.register_forward_pre_hook(lambda *_: pytest.fail("the LLM ran"))
    told = re.escape(
        f"1 of the batch's 2 rows are longer than the LLM's context of {limit} tokens: row "
        f"{IDS[1]} has {text} tokens of text, its answers included, and {audio} of audio, 1 more"
    )
    with pytest.raises(ContextLengthError, match=told) as raised:
        model(samples)
    assert isinstance(raised.value, UserError)  # `pal train` prints it without a traceback
    assert isinstance(raised.value, ValueError)
    with pytest.raises(ContextLengthError, match="row 1 has"):
        model({key: value for key, value in samples.items() if key != "question_id"})


def test_a_row_by_cross_attention_is_as_long_as_its_text(tiny_model):
    model = tiny_model("flamingo")
    samples, (_, text), _ = to_learn(model, 1, 2)
    model.decoder.config.max_position_embeddings = text
    model(samples)
    model.decoder.config.max_position_embeddings = text - 1
    with pytest.raises(ContextLengthError, match=f"has {text} tokens of text.* and 0 of audio"):
        model(samples)


@pytest.mark.parametrize("model_type", ["plits", "lal"])
@pytest.mark.parametrize("place", ["front", "inline"])
def test_all_clips_and_turns_of_a_conversation_count(tiny_model, model_type, place):
    model = tiny_model(model_type)
    model.audio_place = place
    content = [{"type": "audio", "audio": clip} for clip in clips_of(1, 2)]
    content.insert(1, {"type": "text", "text": "And"})
    says = {"role": "assistant", "content": "a bell"}
    messages = [{"role": "user", "content": content}, says, {"role": "user", "content": QUESTION}]
    (text,), (audio,) = model.prompts({"messages": [messages]}).count()
    text += len(model.text.answer_ids("a bell"))
    row = {"messages": [[*messages, says]], "sample_id": ["talk7"]}
    model.decoder.config.max_position_embeddings = text + audio
    model(row)
    model.decoder.config.max_position_embeddings -= 1
    with pytest.raises(ContextLengthError, match=f"row talk7 has {text} .* and {audio} of audio"):
        model(row)


def test_padding_does_not_count(tiny_model):
    """The longest text stands beside the shortest clip."""
    model = tiny_model("lal")
    samples, text, audio = to_learn(model, 2, 1)
    longest = max(map(sum, zip(text, audio, strict=True)))
    assert longest < max(text) + max(audio)
    model.decoder.config.max_position_embeddings = longest
    model(samples)


def test_tokens_are_counted_where_the_widths_do_not_fit_only(tiny_model, monkeypatch):
    """Counting waits for the device."""
    model = tiny_model("lal")
    samples, (_, text), (_, audio) = to_learn(model, 1, 2)
    monkeypatch.setattr(context_length, "positions_taken", lambda inputs: pytest.fail("counted"))
    model.decoder.config.max_position_embeddings = text + audio
    model(samples)


LEARNED = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=16)),
    "opt": lambda: OPTForCausalLM(
        OPTConfig(
            hidden_size=8,
            ffn_dim=8,
            word_embed_proj_dim=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
        )
    ),
}


@pytest.mark.parametrize("name", LEARNED)
def test_learned_positions(tiny_model, tiny_config, tiny_llm, tmp_path, name):
    """Such LLMs are refused whatever the route, so no position is looked up behind the table; their
    limit is read under the name that they give it."""
    llm = LEARNED[name]()
    llm.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llm).save_pretrained(tmp_path)
    for model_type in ("plits", "lal"):
        with pytest.raises(TypeError, match=rf"'{name}'\): it lacks .*`rotary_emb`"):
            AudioLLM.from_config({**tiny_config(model_type), "llm": {"path": str(tmp_path)}})
    inputs = tiny_model("plits").prompts({"audio": clips_of(2), "text_input": [QUESTION]})
    with pytest.raises(ContextLengthError, match="the LLM's context of 16 tokens: row dog has"):
        check_rows(llm.get_decoder().config, inputs, ["dog"])


def test_an_llm_without_a_limit_learns_everything(tiny_model):
    model = tiny_model("lal")
    check_rows(SimpleNamespace(), model.prompts({"audio": clips_of(1), "text_input": [QUESTION]}))
