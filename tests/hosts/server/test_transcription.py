"""`/v1/audio/transcriptions`: the question for a transcript, about the clip of a form."""

import json

import numpy as np
import pytest
from openai.types.audio import Transcription
from scripted import ScriptedEngine, client_of, error_of, tone

PATH = "/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def served():
    """One engine and client."""
    engine = ScriptedEngine()
    client = client_of(engine, question="What was said?")
    return engine, client


def post(client, data=None, **fields):
    file = {"file": ("a.wav", tone() if data is None else data)}
    return client.post(PATH, data={"model": "toy", **fields}, files=file)


def test_the_question_is_a_setting(served):
    engine, client = served
    answer = Transcription.model_validate(post(client, temperature="0.5").json())
    assert answer.text == "a bell"
    assert answer.usage.input_token_details.audio_tokens == 5
    assert answer.usage.total_tokens == 15
    asked = engine.asked[-1]
    clip, question = asked.messages[0]["content"]
    assert len(clip["audio"][0]) == 1600
    assert clip["audio"][0].dtype == np.float32
    assert question["text"] == "What was said?"
    assert asked.temperature == 0.5


def test_a_prompt_is_asked_in_its_place(served):
    engine, client = served
    post(client, prompt="Which word?")
    assert engine.asked[-1].messages[0]["content"][1]["text"] == "Which word?"


def test_plain_text_and_streams(served):
    _, client = served
    text = post(client, response_format="text")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == "a bell\n"
    stream = post(client, stream="true")
    events = [json.loads(e.removeprefix("data: ")) for e in stream.text.strip().split("\n\n")]
    assert [event["type"] for event in events] == ["transcript.text.delta"] * 2 + [
        "transcript.text.done"
    ]
    assert "".join(event["delta"] for event in events[:2]) == events[2]["text"] == "a bell"
    assert events[2]["usage"]["total_tokens"] == 15


def test_what_is_not_supported_is_told(served):
    engine, client = served
    before = len(engine.asked)
    for fields, told in (
        ({"language": "en"}, "language is not supported; leave it out"),
        ({"response_format": "verbose_json"}, "response_format: Input should be 'json' or 'text'"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities[] is not supported"),
        ({"prompt": "x" * 100_001}, "prompt has 100001 characters"),
        ({"prompt": " "}, "prompt: it is empty"),
        ({"temperature": "5"}, "temperature: "),
    ):
        assert told in error_of(post(client, **fields), 400)["message"]
    assert error_of(post(client, model="whisper-1"), 404)["code"] == "model_not_found"
    assert error_of(post(client, b"nix"), 400)["param"] == "file"
    assert len(engine.asked) == before


def test_forms_that_are_none(served):
    _, client = served
    file = ("file", ("a.wav", tone()))
    twice = client.post(PATH, files=[file, ("model", (None, "toy")), ("model", (None, "toy"))])
    assert "model is given twice" in error_of(twice, 400)["message"]
    error_of(client.post(PATH, data={"model": "toy"}, files=[file, file]), 400)
    no_file = client.post(PATH, files=[("model", (None, "toy")), ("file", (None, "/etc/passwd"))])
    assert "expected an uploaded file" in error_of(no_file, 400)["message"]
    error_of(client.post(PATH, json={"model": "toy"}), 400)
    cut = {"Content-Type": "multipart/form-data; boundary=x"}
    error_of(client.post(PATH, content=b"--x\r\nContent-Dis", headers=cut), 400)
    bare = {"Content-Type": "multipart/form-data"}
    error_of(client.post(PATH, content=b"--x", headers=bare), 400)


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_transcript_that_is_cut_off_does_not_pass_for_a_whole_one(stream):
    client = client_of(ScriptedEngine(finish_reason="length"), max_tokens=3)
    answer = post(client, stream=stream)
    if stream == "true":
        error = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    else:
        error = error_of(answer, 413)
    assert error["code"] == "transcript_too_long"
    assert "longer than 3 tokens (--max-tokens)" in error["message"]
