"""What is asked about the same clips: equal to the model's own calls, and encoded once."""

import pytest
import torch

from pal_plugin.clips import clip
from pal_plugin.models.answering import Answering
from pal_plugin.models.audio_llm import AudioLLM

LABELS = ["dog", "bell", "rain"]


@pytest.fixture(scope="module")
def model():
    return AudioLLM.from_pretrained("lal")


def turn(text, *clips):
    parts = [{"type": "audio", "audio": one} for one in clips]
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def test_it_equals_the_models_own_calls_and_encodes_once(model, monkeypatch):
    dog, rain = str(clip("dog")), str(clip("rain"))
    messages = [
        turn("Which sound comes first?", dog, rain),
        {"role": "assistant", "content": "a bell"},
        turn("What do you hear?", dog),
    ]
    chats = {"messages": [messages]}
    expected = model.generate(chats)[0], model.generate({**chats, "audio_mask": [False]})[0]
    ranked = [
        model.predict_class({**chats, **masked}, LABELS)["probabilities"][0]
        for masked in ({}, {"audio_mask": [False]})
    ]
    assert not torch.allclose(*ranked, atol=0.01)

    encoded, whole = [], model.encode_audio
    monkeypatch.setattr(model, "encode_audio", lambda batch: encoded.append(1) or whole(batch))
    answering = Answering(model, max_new_tokens=48)
    pieces = []
    heard = answering.answer(messages, write=pieces.append)
    assert (heard.text, answering.answer(messages, masked=True).text) == expected
    assert "".join(pieces) == heard.text
    assert heard.audio_tokens > 0
    for masked, probabilities in enumerate(ranked):
        found = torch.tensor(answering.rank(messages, LABELS, masked=bool(masked)))
        torch.testing.assert_close(found, probabilities)
    assert len(encoded) == 1
    answering.answer([turn("What do you hear?", rain)])
    assert len(encoded) == 2


def test_text_alone_needs_no_clip(model):
    messages = [{"role": "user", "content": "What do you hear?"}]
    assert Answering(model).answer(messages).text == model.chat(messages)


def test_options_hold_for_every_answer(model):
    done = Answering(model, max_new_tokens=1).answer([turn("What do you hear?", clip("dog"))])
    assert (done.completion_tokens, done.finish_reason) == (1, "length")
