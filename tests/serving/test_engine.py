"""Requests that are answered together, each as if it were alone."""

import threading
from concurrent.futures import CancelledError

import pytest

from pal_plugin.models.completion import complete
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Delta, Done, Request, Stopped


def user(*parts):
    content = [
        {"type": "text", "text": p} if isinstance(p, str) else {"type": "audio", "audio": p}
        for p in parts
    ]
    return {"role": "user", "content": content}


def test_an_answer_is_that_of_the_model_alone(tiny_model, two_clips):
    model, clip = tiny_model("pal"), two_clips["audio"][0]
    messages = [user(clip, "What is it?")]
    (expected,) = complete(model, {"messages": [messages]}, max_new_tokens=6)
    with Engine(model) as engine:
        ticket = engine.submit(Request(messages, max_new_tokens=6))
        *deltas, done = ticket
        assert ticket.result(1) is done
        assert engine.count(messages) == (expected.prompt_tokens, expected.audio_tokens)
        assert set(engine.rank(messages, ["a bell", "rain"])["predictions"]) <= {"a bell", "rain"}
    assert all(isinstance(delta, Delta) for delta in deltas)
    assert isinstance(done, Done)
    assert "".join(d.text for d in deltas) == done.completion.text == expected.text
    assert done.completion.finish_reason == expected.finish_reason


def test_a_closed_engine_refuses(tiny_model):
    engine = Engine(tiny_model("lal"))
    ticket = engine.submit(Request([user("Hello")], max_new_tokens=2))
    engine.close()
    assert ticket.result(0).completion.completion_tokens <= 2
    with pytest.raises(Stopped, match="closed"):
        engine.submit(Request([user("Hello")]))


def test_a_cancelled_answer_ends(tiny_model):
    with Engine(tiny_model("lal")) as engine:
        ticket = engine.submit(Request([user("Hello")], max_new_tokens=2000))
        ticket.cancel()
        with pytest.raises(CancelledError):
            ticket.result(60)


def test_what_cannot_be_answered_is_refused_at_once(tiny_model):
    with Engine(tiny_model("lal")) as engine:
        with pytest.raises(ValueError, match="expected messages as a list"):
            engine.submit(Request("Hello"))
        with pytest.raises(ValueError, match="tokens of text; with max_new_tokens=100000"):
            engine.submit(Request([user("Hello")], max_new_tokens=100_000))
        with pytest.raises(ValueError, match="ends with an answer"):
            engine.submit(Request([user("Hello"), {"role": "assistant", "content": "Hi"}]))


def test_a_job_runs_in_the_engines_thread(tiny_model):
    with Engine(tiny_model("lal")) as engine:
        assert engine.call(lambda: threading.current_thread().name) == "pal-engine"
        with pytest.raises(ZeroDivisionError):
            engine.call(lambda: 1 / 0)
    with pytest.raises(Stopped, match="closed"):
        engine.call(list)
