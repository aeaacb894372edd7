"""Requests are read as OpenAI has them, and what is not supported is an error."""

import pytest
from pydantic import ValidationError

from pal_plugin.hosts.server.schema import ChatRequest, TranscriptionForm

MESSAGES = [{"role": "user", "content": "Hello"}]


def read(**fields):
    return ChatRequest.model_validate({"model": "toy", "messages": MESSAGES, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"functions": []},
        {"logit_bias": {}},
        {"audio": {"voice": "alloy"}},
        {"frequency_penalty": 0.1},
        {"presence_penalty": 1},
        {"modalities": ["audio"]},
        {"response_format": {"type": "json_object"}},
        {"store": True},
        {"n": 0},
        {"n": "1"},
        {"n": True},
        {"n": 1.5},
        {"max_tokens": 0},
        {"max_tokens": 4, "max_completion_tokens": 5},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"temperature": float("nan")},
        {"top_p": 0},
        {"top_p": 1.1},
        {"seed": -1},
        {"seed": 2**63},
        {"stop": ""},
        {"stop": ["a", ""]},
        {"stop": list("abcde")},
        {"top_logprobs": 2},
        {"logprobs": True, "top_logprobs": 21},
        {"stream_options": {"include_usage": True}},
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        {"messages": []},
        {"messages": {}},
        {"messages": ["Hello"]},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"messages": [{"role": "user", "content": "x", "name": "Ada"}]},
        {"messages": [{"role": "user", "content": "\ud83d"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "more": 1}]}]},
        {"messages": [{"role": "assistant", "content": "x", "tool_calls": [{}]}]},
    ],
)
def test_what_is_not_supported(fields):
    with pytest.raises(ValidationError):
        read(**fields)


def test_formats_are_named():
    part = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "pcm16"}}
    with pytest.raises(ValidationError, match="wav"):
        read(messages=[{"role": "user", "content": [part]}])


def test_what_asks_for_nothing_may_be_there():
    body = read(
        frequency_penalty=0.0,
        presence_penalty=0,
        modalities=["text"],
        response_format={"type": "text"},
        store=False,
        user="somebody",
        n=None,
        stop=None,
        temperature=None,
    )
    assert body.stops() == ()
    assert body.length() is None


def test_an_answer_may_be_sent_back_as_it_came():
    from openai.types.chat import ChatCompletionMessage

    said = ChatCompletionMessage(role="assistant", content="a bell", refusal=None, annotations=[])
    for answer in (said.model_dump(), said.model_dump(exclude_unset=True)):
        read(messages=[*MESSAGES, answer, *MESSAGES])


def test_both_names_of_the_length_and_both_forms_of_stop():
    assert read(max_tokens=4).length() == read(max_completion_tokens=4).length() == 4
    assert read(max_tokens=4, max_completion_tokens=4).length() == 4
    assert read(stop="\n").stops() == read(stop=["\n"]).stops() == ("\n",)


@pytest.mark.parametrize(
    "fields",
    [
        {"language": "en"},
        {"timestamp_granularities[]": "word"},
        {"response_format": "srt"},
        {"response_format": "verbose_json"},
        {"temperature": "nan"},
        {"temperature": "hot"},
        {"stream": "perhaps"},
        {"prompt": " "},
    ],
)
def test_what_a_transcription_has_not(fields):
    with pytest.raises(ValidationError):
        TranscriptionForm.model_validate({"model": "toy", **fields})


def test_values_of_a_form_are_texts():
    form = TranscriptionForm.model_validate(
        {"model": "toy", "temperature": "0.5", "stream": "true", "prompt": "What is said?"}
    )
    assert (form.temperature, form.stream, form.response_format) == (0.5, True, "json")
