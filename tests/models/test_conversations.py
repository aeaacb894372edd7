"""Several clips and turns: equal to one clip and one question, in any batch, by any route."""

import pickle

import pytest
import torch

from pal_plugin.batch import take_rows
from pal_plugin.datasets.collate import collate_clips
from pal_plugin.models.conversations import gather

TYPES = ["lal", "plits", "pal", "flamingo"]


def user(*parts):
    return {"role": "user", "content": [_part(p) for p in parts]}


def _part(part):
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return audio(part)


def audio(clip):
    return {"type": "audio", "audio": clip}


def says(text):
    return {"role": "assistant", "content": text}


@pytest.fixture
def clips(two_clips):
    return two_clips["audio"]


def chat(clips):
    first, second = clips
    return [user(first, "What is it?"), says("a bell"), user("And", second, "this?")]


def scores(model, messages, **more):
    return model.predict_class({"messages": messages, **more}, ["a bell", "no"])["scores"]


@pytest.mark.parametrize("model_type", TYPES)
def test_one_clip_and_one_question_are_what_ask_gives(tiny_model, clips, model_type):
    model = tiny_model(model_type)
    messages = [[user(clip, "What do you hear?")] for clip in clips]
    batch = {"audio": clips, "text_input": ["What do you hear?"] * 2}
    expected = model.predict_class(batch, ["a bell", "no"])["scores"]
    assert torch.equal(scores(model, messages), expected)
    assert model.chat(messages[0], max_new_tokens=4) == model.ask(
        clips[0], "What do you hear?", max_new_tokens=4
    )


@pytest.mark.parametrize("model_type", TYPES)
def test_a_batch_is_the_same_one_by_one(tiny_model, clips, model_type):
    """Of other lengths, numbers of clips, of turns, and without any."""
    model = tiny_model(model_type)
    messages = [
        chat(clips),
        [user("Is there anything?")],
        [user("Hear", clips[1], "this")],
        [user(clips[1], clips[0])],
    ]
    together = scores(model, messages)
    alone = torch.cat([scores(model, [one]) for one in messages])
    assert torch.allclose(together, alone, atol=1e-5)
    answers = model.generate({"messages": messages}, max_new_tokens=4)
    assert answers == [model.chat(one, max_new_tokens=4) for one in messages]


@pytest.mark.parametrize("model_type", TYPES)
def test_each_clip_counts_and_so_does_its_place(tiny_model, clips, model_type):
    model = tiny_model(model_type)
    for gate in (p for name, p in model.cross_attention.named_parameters() if "gate" in name):
        torch.nn.init.constant_(gate, 1.0)
    first, second = clips
    one = scores(model, [chat(clips)])
    for others in ((second, second), (first, first), (second, first)):
        assert not torch.allclose(scores(model, [chat(others)]), one, atol=1e-6)
    moved = chat(clips)
    moved[2] = user(second, "And this?")
    assert not torch.allclose(scores(model, [moved]), one, atol=1e-6)
    hidden = scores(model, [chat(clips)] * 2, audio_mask=torch.tensor([True, False]))
    assert torch.allclose(hidden[:1], one, atol=1e-5)
    assert not torch.allclose(hidden[1:], one, atol=1e-6)
    none = torch.tensor([False])
    others = scores(model, [chat((second, first))], audio_mask=none)
    assert torch.allclose(hidden[1:], others, atol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_every_answer_is_learned(tiny_model, clips, model_type):
    model = tiny_model(model_type)
    messages = [*chat(clips), says("rain")]
    out = model({"messages": [messages, messages[:2]]})
    both = model({"messages": [messages]})["loss"], model({"messages": [messages[:2]]})["loss"]
    assert torch.allclose(out["per_row_loss"], torch.stack(both).detach(), atol=1e-5)
    tokens = len(model.text.answer_ids("a bell") + model.text.answer_ids("rain"))
    assert model.answer_tokens({"messages": [messages]}) == tokens
    assert model.text_tokens({"messages": [messages]}) > tokens
    single = model({"audio": clips[:1], "text_input": ["What is it?"], "text_output": ["a bell"]})[
        "loss"
    ]
    assert torch.equal(both[1], single)


def test_a_clip_is_encoded_once_wherever_it_stands(tiny_model, clips, monkeypatch):
    model = tiny_model("lal")
    seen = []
    encode = model.encode_audio
    monkeypatch.setattr(
        model, "encode_audio", lambda batch: seen.append(len(batch["audio"])) or encode(batch)
    )
    messages = [chat(clips), [user(clips[0], "What?")], [user(clips[1], clips[1], "Two?")]]
    model.generate({"messages": messages}, max_new_tokens=2)
    assert seen == [2]


def test_messages_may_name_the_clips_of_the_batch(tiny_model, clips):
    model = tiny_model("pal")
    named = [user({"clip": 0}, "x")]
    assert torch.equal(scores(model, [chat((0, 1))], audio=clips), scores(model, [chat(clips)]))
    with pytest.raises(ValueError, match=r"refer to clips \[0, 2\]; the batch has 2"):
        scores(model, [chat((0, 2))], audio=clips)
    with pytest.raises(ValueError, match=r"has 2 clips, but the messages only refer to 1.*\[1\]"):
        scores(model, [chat((0, 0))], audio=clips)
    with pytest.raises(ValueError, match="refer to clips"):
        scores(model, [named], audio=clips)


def test_inline_and_front_differ_for_the_clip_that_opens(tiny_model, clips):
    model = tiny_model("lal")
    front = scores(model, [chat(clips)])
    model.audio_place = "inline"
    assert not torch.allclose(scores(model, [chat(clips)]), front, atol=1e-6)


def test_errors(tiny_model, clips):
    model = tiny_model("lal")
    with pytest.raises(ValueError, match="expected samples.'messages'. as a list"):
        model.generate({"messages": "What?"})
    with pytest.raises(ValueError, match="is one conversation; expected a list of them"):
        model.generate({"messages": chat(clips)})
    with pytest.raises(ValueError, match=r"conversation 1: messages\[0\] is empty"):
        model.generate({"messages": [chat(clips), [user(" ")]]})
    with pytest.raises(ValueError, match="conversation 0 ends with an answer"):
        model.generate({"messages": [chat(clips)[:2]]})


def test_shared_clips_are_found_by_name_or_identity(tiny_model):
    text = tiny_model("lal").text
    array = [0.0]
    rows = (["a.wav"], ["a.wav", array], [array])
    messages = [[{"role": "user", "content": [audio(clip) for clip in row]}] for row in rows]
    read = gather(text, messages, "front")
    assert read.clips == ["a.wav", array]
    assert read.places.index.tolist() == [[0, -1], [0, 1], [1, -1]]


def talk_batch(model, clips):
    """A training batch as datasets give it: two clips, none, one."""

    def sample(name, audios, *messages):
        asked = {"question": "q", "answer": messages[-1]["content"], "task": "qa"}
        features = [model.frontend(clip) for clip in audios]
        item = {**asked, "messages": list(messages)}
        return {"audio": features, "sample_id": name, "items": [item]}

    return [
        sample("two", clips, *chat((0, 1)), says("no")),
        sample("text", [], user("Is there anything?"), says("rain")),
        sample("one", clips[1:], user("Hear", 0, "this"), says("a bell")),
    ]


@pytest.mark.parametrize("model_type", ["lal", "plits"])
@pytest.mark.parametrize("place", ["front", "inline"])
def test_a_batch_of_a_dataset_learns_as_its_rows_alone(tiny_model, clips, model_type, place):
    """Loss and gradients; tokenized in a worker or here."""
    model = tiny_model(model_type, llm="lora")
    model.audio_place = place
    samples = talk_batch(model, clips)
    together = collate_clips(samples)
    alone = [collate_clips([sample]) for sample in samples]
    tokens = [model.answer_tokens(batch) for batch in alone]
    assert tokens[0] == len(model.text.answer_ids("a bell") + model.text.answer_ids("no"))
    assert model.answer_tokens(together) == sum(tokens)
    prepared = pickle.loads(pickle.dumps(model.prepare_batch))(together)
    losses, gradients = [], []
    for batches in ([together], [prepared], alone):
        model.zero_grad()
        out = [model(batch) for batch in batches]
        weights = [sum(tokens)] if len(batches) == 1 else tokens
        loss = sum(o["loss"] * w for o, w in zip(out, weights, strict=True)) / sum(tokens)
        loss.backward()
        losses.append(torch.cat([o["per_row_loss"] for o in out]))
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert torch.equal(losses[0], losses[1])
    assert torch.allclose(losses[0], losses[2], atol=1e-5)
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[2][name], atol=1e-5, rtol=1e-3), name
    # Text alone too gives every trainable parameter a gradient, which DDP waits for.
    assert all(gradient is not None for gradient in gradients[2].values())


@pytest.mark.parametrize("model_type", TYPES)
def test_text_alone_can_be_learned_with_a_frozen_llm(tiny_model, clips, model_type):
    model = tiny_model(model_type)
    text = collate_clips(talk_batch(model, clips)[1:2])
    assert model.audio_seconds(text) == 0
    model(text)["loss"].backward()
    trained = [p.grad for p in model.parameters() if p.requires_grad]
    assert trained
    assert not any(gradient.any() for gradient in trained)


def test_answers_are_one_for_each_conversation(tiny_model, clips):
    model = tiny_model("lal")
    with pytest.raises(ValueError, match="got 1 conversations, but 2 answers"):
        model({"messages": [[user("What?")]], "text_output": ["a", "b"]})
    with pytest.raises(ValueError, match="ends with an answer, but there is another"):
        model({"messages": [chat(clips)[:2]], "text_output": ["a"]})


def test_rows_taken_from_a_batch_keep_their_clips(tiny_model, clips):
    model = tiny_model("pal")
    batch = collate_clips(talk_batch(model, clips))
    whole = model.predict_class(batch, ["a bell", "no"])["scores"]
    encoded = {**batch, "audio_tokens": model.encode_audio(batch)}
    part = model.predict_class(take_rows(encoded, [2]), ["a bell", "no"])["scores"]
    assert torch.allclose(part, whole[2:], atol=1e-5)
