"""Questions and conversations become the same rows of ids, parsed once."""

import pytest
import torch

from pal_plugin.models.text_rows import is_chat, labelled_rows, prompt_rows, with_conversations

QUESTION, ANSWER = "What do you hear?", "a bell"


def asked(clip):
    content = [{"type": "audio", "audio": clip}, {"type": "text", "text": QUESTION}]
    return {"role": "user", "content": content}


def test_a_batch_with_messages_has_conversations():
    assert is_chat({"messages": []})
    assert not is_chat({"text_input": [QUESTION]})
    assert not is_chat("messages")


def test_a_question_and_a_conversation_of_one_turn_are_the_same_rows(tiny_model):
    model = tiny_model("lal")
    prompt, answer = model.text.prompt_ids(QUESTION), model.text.answer_ids(ANSWER)
    single = {"text_input": [QUESTION], "text_output": [ANSWER]}
    chat = {"messages": [[asked("a.wav")]], "text_output": [ANSWER]}
    for samples in (single, chat):
        _, ids, learned = labelled_rows(model, samples)
        assert ids == [prompt + answer]
        assert learned == [[False] * len(prompt) + [True] * len(answer)]
        assert prompt_rows(model, {k: v for k, v in samples.items() if k != "text_output"})[1] == [
            prompt
        ]


def test_what_is_parsed_stays_as_it_is(tiny_model):
    model = tiny_model("lal")
    once = with_conversations(model, {"messages": [[asked("a.wav")]]})
    assert once["conversations"].clips == ["a.wav"]
    assert with_conversations(model, once) is once
    assert prompt_rows(model, once)[0] is once
    tokenized, ids, _ = labelled_rows(model, {"text_input": [QUESTION], "text_output": [ANSWER]})
    assert labelled_rows(model, {**tokenized, "text_input": ["ignored"]})[1] == ids


def test_messages_name_the_clips_of_the_batch(tiny_model, two_clips):
    model = tiny_model("lal")
    messages = [[asked(1)], [asked(0)]]
    read = with_conversations(model, {"messages": messages, "audio": two_clips["audio"]})
    assert read["conversations"].clips is None
    assert read["conversations"].places.index.tolist() == [[1], [0]]
    assert torch.is_tensor(next(iter(read["audio"].values()))["windows"])  # joined, for forward
    encoded = {"audio_tokens": {"general": [None] * 2}}  # only their number is read
    taken = with_conversations(model, {"messages": messages[:1], **encoded})
    assert taken["conversations"].places.index.tolist() == [[1]]
    with pytest.raises(ValueError, match=r"refer to clips \[1\]; the batch has 1"):
        with_conversations(model, {"messages": messages[:1], "audio": two_clips["audio"][:1]})


def test_a_prompt_ends_with_a_question(tiny_model):
    model = tiny_model("lal")
    messages = [asked("a.wav"), {"role": "assistant", "content": ANSWER}]
    with pytest.raises(ValueError, match="conversation 0 ends with an answer; expected a question"):
        prompt_rows(model, {"messages": [messages]})
    with pytest.raises(ValueError, match="question 0 is ' '"):
        prompt_rows(model, {"text_input": [" "]})
