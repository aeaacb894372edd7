"""Attention weights over the audio, against a stock LLM with dense attention on `[H; h]`."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from pal_plugin.attention.attached import attached
from pal_plugin.integration import lal
from pal_plugin.models.attention_weights import AnswerAttention, attention_weights

QUESTION, ANSWER = "What do you hear?", "a loud bell and rain"


def user(*content):
    parts = [
        {"type": "text", "text": c} if isinstance(c, str) else {"type": "audio", "audio": c}
        for c in content
    ]
    return {"role": "user", "content": parts}


def stock_weights(llm_folder, audio, ids, answer, reset):
    """Weights `[L, a, m]` of a stock LLM on `[H; h]`, the mean over heads.

    Args:
        audio: `[m, D]`. ids, answer: of prompt and answer.
        reset: set the audio's rows back to H before every layer: LAL by its definition.
    """
    llm = AutoModelForCausalLM.from_pretrained(llm_folder, attn_implementation="eager").eval()
    m = len(audio)
    text = llm.get_input_embeddings()(torch.tensor(ids + answer))
    hooks = []
    if reset:

        def back(_layer, args, kwargs):
            hidden = args[0] if args else kwargs["hidden_states"]
            hidden = torch.cat([audio[None], hidden[:, m:]], 1)
            return (hidden, *args[1:]), {k: v for k, v in kwargs.items() if k != "hidden_states"}

        hooks = [
            layer.register_forward_pre_hook(back, with_kwargs=True) for layer in llm.model.layers
        ]
    with torch.no_grad():
        out = llm(inputs_embeds=torch.cat([audio, text])[None], output_attentions=True)
    assert len(hooks) == len(llm.model.layers) * reset
    rows = slice(m + len(ids) - 1, m + len(ids) + len(answer) - 1)
    return torch.stack([w[0, :, rows, :m].mean(0) for w in out.attentions])


@pytest.mark.parametrize("kind", ["lal", "plits"])
def test_weights_are_those_of_a_stock_llm(tiny_model, tiny_llm, two_clips, kind):
    model = tiny_model(kind)
    clip = two_clips["audio"][1]
    encoded = model.encode_audio({"audio": [clip]})
    audio = torch.cat([tokens.features[0][tokens.mask[0]] for tokens in encoded.values()])
    ids, answer = model.text.prompt_ids(QUESTION), model.text.answer_ids(ANSWER)[:-1]
    expected = stock_weights(tiny_llm, audio.detach(), ids, answer, reset=kind == "lal")
    found = attention_weights(model, [user(clip, QUESTION)], ANSWER)
    general, speech = found.parts
    assert (general.group, speech.group) == ("general", "speech")
    assert general.integration == kind
    assert general.layers == (0, 1, 2)
    both = torch.cat([general.weights, speech.weights], 2)
    torch.testing.assert_close(both, expected, atol=1e-5, rtol=1e-4)
    assert 0.01 < both.sum(2).min() < both.sum(2).max() < 1
    torch.testing.assert_close(speech.mean, speech.weights.sum(0) / 3)


def test_the_equations_of_lal_give_the_same(tiny_model, two_clips, monkeypatch):
    """Two clips among the text, one of them twice, and groups that only some layers see."""
    model = tiny_model("lal")
    model.routing = {
        "general": tuple(model.routing["general"]),
        "speech": tuple(type(way)("lal", (1,), 2) for way in model.routing["speech"]),
    }
    first, second = two_clips["audio"]
    messages = [
        user(first, "What is it?"),
        {"role": "assistant", "content": "rain"},
        user("And", second, "or", first, "?"),
    ]
    found = attention_weights(model, messages, ANSWER)
    assert [(part.clip, part.group) for part in found.parts] == [
        (clip, group) for clip in range(3) for group in ("general", "speech")
    ]
    taken = []

    def keeping(module, *args, **kwargs):
        out = plain(module, *args, **kwargs)
        taken.append((module.layer_idx, out[1][0].mean(0)))
        return out

    plain = lal.attention
    monkeypatch.setattr(lal, "attention", keeping)
    for _, adapter in attached(model.decoder, "audio").adapters:
        adapter.plain = True
    learned = [*messages, {"role": "assistant", "content": ANSWER}]
    with torch.no_grad():
        model({"messages": [learned]})
    last = len(taken[0][1]) - 2  # of the answer, in front of the end token
    rows = slice(last - len(found.tokens), last)  # those before the answer's tokens
    sizes = [(part.weights.shape[2], part.layers) for part in found.parts]
    general = [size for size, layers in sizes if layers == (0, 1, 2)]
    speech = [size for size, layers in sizes if layers == (1,)]
    for layer, weights in taken:
        spans = [g for g in found.parts if layer in g.layers]
        spans.sort(key=lambda part: (part.group, part.clip))  # a span is a group
        got = torch.cat([part.weights[part.layers.index(layer)] for part in spans], 1)
        audio = weights[rows, : len(weights[0]) - len(weights)]
        seen = audio[:, audio.sum(0) > 0]  # padding has none
        assert seen.shape[1] == sum(general) + (sum(speech) if layer == 1 else 0)
        torch.testing.assert_close(got, seen, atol=1e-6, rtol=1e-4)


def test_groups_go_their_own_ways(tiny_model, two_clips):
    model = tiny_model("pal")
    model.routing["speech"] = (*model.routing["speech"], *model.routing["general"])
    clip = two_clips["audio"][0]
    found = attention_weights(model, [user(clip, QUESTION)], ANSWER)
    ways = {(part.group, part.integration): part for part in found.parts}
    assert set(ways) == {("general", "lal"), ("speech", "plits"), ("speech", "lal")}
    by_plits, by_lal = ways["speech", "plits"], ways["speech", "lal"]
    assert torch.equal(by_plits.seconds, by_lal.seconds)
    assert not torch.allclose(by_plits.weights, by_lal.weights)


def test_the_model_is_left_as_it_was(tiny_model, two_clips):
    model = tiny_model("lal")
    messages = [user(two_clips["audio"][0], QUESTION)]
    before = model.generate({"messages": [messages]}, max_new_tokens=4)
    config = copy.deepcopy(model.decoder.config.to_dict())
    attention_weights(model, messages, ANSWER)
    assert model.decoder.config.to_dict() == config
    assert model.decoder.config._attn_implementation == "sdpa"
    assert not any(layer.self_attn._forward_hooks for layer in model.decoder.layers)
    assert not any(c._forward_pre_hooks for c in model.connectors.values())
    assert model.generate({"messages": [messages]}, max_new_tokens=4) == before


def test_words_are_made_of_their_tokens():
    found = AnswerAttention(("a", " cry", "ing", " ba", "by", "."), ())
    assert found.words() == [("a", [0]), ("crying", [1, 2]), ("baby.", [3, 4, 5])]


def test_the_texts_of_tokens_make_up_the_answer(tiny_model, two_clips):
    found = attention_weights(tiny_model("lal"), [user(two_clips["audio"][0], "?")], ANSWER)
    assert "".join(found.tokens).strip() == ANSWER
    assert [word for word, _ in found.words()] == ANSWER.split()
    assert all(part.weights.shape[1] == len(found.tokens) for part in found.parts)


def test_what_has_no_such_weights_is_an_error(tiny_model, two_clips):
    clip = two_clips["audio"][0]
    with pytest.raises(ValueError, match=r"\['general', 'speech'\] are routed by flamingo"):
        attention_weights(tiny_model("flamingo"), [user(clip, QUESTION)], ANSWER)
    model = tiny_model("lal")
    with pytest.raises(ValueError, match="no clip"):
        attention_weights(model, [user(QUESTION)], ANSWER)
    with pytest.raises(ValueError, match="answer is empty"):
        attention_weights(model, [user(clip, QUESTION)], " ")
