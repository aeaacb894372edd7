"""`/v1/chat/completions` in front of an engine whose answers are written down."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from scripted import ScriptedEngine, chat, client_of, error_of, post, sent, tone


def streamed(answer):
    """The events of a stream, without the end mark."""
    assert answer.status_code == 200, answer.text
    *events, end, rest = answer.text.split("\n\n")
    assert (end, rest) == ("data: [DONE]", "")
    return [
        ChatCompletionChunk.model_validate(json.loads(event.removeprefix("data: ")))
        for event in events
    ]


def test_an_answer():
    engine = ScriptedEngine()
    answer = ChatCompletion.model_validate(post(client_of(engine), chat()).json())
    (choice,) = answer.choices
    assert choice.message.content == "a bell"
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert (answer.model, answer.system_fingerprint) == ("toy", "0123456789ab")
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (12, 3, 15)
    assert usage.prompt_tokens_details.audio_tokens == 5
    assert usage.prompt_tokens_details.cached_tokens == 3
    (asked,) = engine.asked
    assert (asked.temperature, asked.top_p, asked.seed, asked.stop) == (0, 1, None, ())
    assert (asked.max_new_tokens, asked.logprobs, asked.mute) == (256, False, False)


def test_what_is_asked_for_reaches_the_engine():
    engine = ScriptedEngine(finish_reason="length")
    client = client_of(engine)
    body = chat(
        temperature=0.7,
        top_p=0.9,
        seed=2**63 - 1,
        stop=["\n", "."],
        max_completion_tokens=9,
        logprobs=True,
        top_logprobs=2,
        n=2,
    )
    answer = ChatCompletion.model_validate(post(client, body).json())
    first, second = engine.asked
    assert (first.temperature, first.top_p, first.stop) == (0.7, 0.9, ("\n", "."))
    assert (first.max_new_tokens, first.logprobs, first.top_logprobs) == (9, True, 2)
    assert (first.seed, second.seed) == (2**63 - 1, 0)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 6
    assert answer.usage.prompt_tokens == 12
    tokens = answer.choices[1].logprobs.content
    assert [token.token for token in tokens] == ["a", " bell", "<end>"]
    assert bytes(tokens[1].bytes) == b" bell"
    assert [t.logprob for t in tokens] == [-0.5, -0.5, -9999]
    assert [(top.token, top.logprob) for top in tokens[0].top_logprobs] == [("a", -0.5), ("no", -1)]


def test_a_stream_holds_what_the_whole_answer_holds():
    engine = ScriptedEngine()
    body = chat(n=2, stream=True, logprobs=True, stream_options={"include_usage": True})
    chunks = streamed(post(client_of(engine), body))
    assert len({chunk.id for chunk in chunks}) == 1
    for number in (0, 1):
        mine = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == number]
        assert mine[0].delta.role == "assistant"
        assert "".join(choice.delta.content or "" for choice in mine) == "a bell"
        assert [c.finish_reason for c in mine] == [None] * (len(mine) - 1) + ["stop"]
        scores = [s.token for choice in mine if choice.logprobs for s in choice.logprobs.content]
        assert scores == ["a", " bell", "<end>"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 18)


def test_a_stream_has_its_usage_only_if_asked():
    answer = post(client_of(ScriptedEngine()), chat(stream=True))
    assert "usage" not in answer.text
    assert all(chunk.choices for chunk in streamed(answer))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("later", [False, True])
def test_what_the_engine_cannot_answer_has_a_status_also_in_a_stream(stream, later):
    engine = ScriptedEngine()
    setattr(engine, "fails" if later else "refused", ValueError("the prompt is too long"))
    answer = post(client_of(engine), chat(stream=stream))
    assert error_of(answer, 400)["message"] == "the prompt is too long"


def test_a_full_queue():
    engine = ScriptedEngine()
    engine.full = True
    answer = post(client_of(engine), chat())
    assert error_of(answer, 429)["code"] == "busy"
    assert answer.headers["Retry-After"] == "1"


def test_a_stream_that_takes_too_long_ends_with_an_error():
    engine = ScriptedEngine()
    engine.go.clear()
    answer = post(client_of(engine, max_time=1), chat(stream=True))
    engine.go.set()
    *_, last = answer.text.strip().split("\n\n")
    message = json.loads(last.removeprefix("data: "))["error"]["message"]
    assert "took more than 1 s (--max-time)" in message
    assert engine.tickets[0].cancelled.is_set()


def test_limits_and_other_models():
    engine = ScriptedEngine()
    client = client_of(engine, max_choices=2, max_tokens=9)
    assert "n is 3; expected at most 2" in error_of(post(client, chat(n=3)), 400)["message"]
    for name in ("max_tokens", "max_completion_tokens"):
        refused = error_of(post(client, chat(**{name: 10})), 400)
        assert "expected at most 9 (--max-tokens)" in refused["message"]
    other = error_of(post(client, chat() | {"model": "gpt"}), 404)
    assert (other["code"], other["param"]) == ("model_not_found", "model")
    assert "there is no model 'gpt'; expected 'toy'" in other["message"]
    assert engine.asked == []


def test_clips_are_counted_in_seconds():
    client = client_of(ScriptedEngine())
    post(client, chat([sent(tone(0.5)), sent(tone(0.25))]))
    assert "pal_audio_seconds_total 0.75" in client.get("/metrics").text
