"""A conversation that goes on says what a fresh start would, and reads each token once."""

import pytest
import torch

from pal_plugin.models.chat import Conversation
from pal_plugin.models.encoded_prompts import encoded_prompts

TYPES = ["lal", "plits", "pal", "flamingo"]
OPTIONS = {"max_new_tokens": 5}


@pytest.fixture
def clips(two_clips):
    return two_clips["audio"]


def talk(model, clips):
    """Ten turns over two clips, of which the second comes in the fourth."""
    chat = Conversation(model)
    answers = [chat.ask("What is it?", audio=clips[0], **OPTIONS)]
    for turn in range(1, 10):
        audio = clips[1] if turn == 3 else None
        answers.append(chat.ask(f"And {turn} of it?", audio=audio, **OPTIONS))
    return chat, answers


@pytest.mark.parametrize("model_type", TYPES)
def test_ten_turns_are_what_a_fresh_start_gives(tiny_model, clips, model_type, monkeypatch):
    model = tiny_model(model_type)
    for gate in (p for name, p in model.cross_attention.named_parameters() if "gate" in name):
        torch.nn.init.constant_(gate, 1.0)
    encoded, encode = [], model.encode_audio
    monkeypatch.setattr(model, "encode_audio", lambda batch: encoded.append(1) or encode(batch))
    entered = []
    model.llm.get_decoder().layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: entered.append((args or list(kwargs.values()))[0].shape[1]),
        with_kwargs=True,
    )
    chat, answers = talk(model, clips)
    assert len(encoded) == 2
    # Every token once; the last answer's end, and of one that was cut off its last token, not yet.
    assert sum(entered) == chat.tokens_read
    whole = encoded_prompts(model, [chat._turns], chat._clips).mask.shape[1]
    assert whole - chat.tokens_read in (1, 2)
    # The last turn anew, from ids and clips: the likeliest tokens are those of the cached answer.
    last = max(i for i, learned in enumerate(chat._turns.learned) if not learned) + 1
    ids = chat._turns.ids[last:-1]
    fresh = encoded_prompts(model, [chat._turns], chat._clips)
    out = model.llm(
        inputs_embeds=fresh.embeds, attention_mask=fresh.mask, **fresh.audio_kwargs
    ).logits
    steps = out[0, -len(ids) - 2 : -2].argmax(-1).tolist()
    assert steps == ids
    assert len(answers) == 10


@pytest.mark.parametrize("model_type", TYPES)
def test_what_was_said_can_be_said_to_the_model_at_once(tiny_model, clips, model_type):
    model = tiny_model(model_type)
    chat, bell = Conversation(model), iter(model.text.answer_ids("a bell"))

    def forced(_, scores):  # an answer whose text is read as the tokens that were generated
        return torch.full_like(scores, -1e4).index_fill(1, torch.tensor([next(bell)]), 0.0)

    said = chat.ask("What is it?", audio=clips[0], max_new_tokens=20, logits_processor=[forced])
    assert said == "a bell"
    answer = chat.ask([{"type": "text", "text": "Sure?"}], **OPTIONS)
    assert [m["role"] for m in chat.messages] == ["user", "assistant"] * 2
    assert chat.messages[-1]["content"] == answer
    assert model.chat(chat.messages[:-1], **OPTIONS) == answer


def test_clips_heard_before_are_taken(tiny_model, clips):
    model = tiny_model("pal")
    fresh, kept = Conversation(model), Conversation(model)
    expected = fresh.ask("What?", audio=clips, **OPTIONS)
    assert kept.ask("What?", audio=[model.encode(c) for c in clips], **OPTIONS) == expected
    with pytest.raises(ValueError, match="expected one clip in a place, got an AudioKV of 2"):
        kept.ask("What?", audio=model.encode(clips), **OPTIONS)


def test_what_fails_leaves_the_conversation_as_it_was(tiny_model, clips, monkeypatch):
    model = tiny_model("lal")
    chat = Conversation(model)
    chat.ask("What is it?", audio=clips[0], **OPTIONS)
    before = list(chat.messages)
    generate = type(model.llm).generate

    def broken(self, *args, **kwargs):
        generate(self, *args, **{**kwargs, "max_new_tokens": 2})
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(model.llm), "generate", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        chat.ask("Sure?", **OPTIONS)
    assert chat.messages == before
    monkeypatch.undo()
    twin = Conversation(model)
    twin.ask("What is it?", audio=clips[0], **OPTIONS)
    assert chat.ask("Sure?", **OPTIONS) == twin.ask("Sure?", **OPTIONS)


def test_errors(tiny_model, clips):
    chat = Conversation(tiny_model("lal"))
    with pytest.raises(ValueError, match="the turn is empty"):
        chat.ask(" ")
    with pytest.raises(ValueError, match=r"the turn.content\[0\] is 3"):
        chat.ask([3])
    with pytest.raises(ValueError, match="num_beams: a conversation keeps the cache of one answer"):
        chat.ask("What?", num_beams=2)
    with pytest.raises(
        ValueError, match=r"conversation has \d+ tokens of text and \d+ of audio; with up to \d+"
    ):
        chat.ask("What?", audio=clips[0], max_new_tokens=100_000)
    assert chat.messages == []
