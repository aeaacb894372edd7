"""Every error has OpenAI's form; none of them repeats what a request held."""

import asyncio
import logging

import pytest
from fastapi import FastAPI
from scripted import ScriptedEngine, chat, client_of, error_of, post
from starlette.testclient import TestClient

from pal_plugin.hosts.server.errors import (
    ClientLeft,
    Refusal,
    busy,
    error_body,
    handle_errors,
    invalid,
    log_bug,
    unavailable,
)


def test_the_form_is_openais():
    refusal = Refusal(413, "too large", "too_large", "file", {"X": "y"})
    assert refusal.response().headers["x"] == "y"
    assert refusal.body() == {
        "error": {
            "message": "too large",
            "type": "invalid_request_error",
            "param": "file",
            "code": "too_large",
        }
    }
    assert [error_body(s, "")["error"]["type"] for s in (401, 404, 429, 500)] == [
        "authentication_error",
        "not_found_error",
        "rate_limit_error",
        "server_error",
    ]


def test_who_may_come_back_is_told_when():
    assert busy("full").headers == unavailable("stops").headers == {"Retry-After": "1"}
    assert (busy("full").status_code, unavailable("stops").status_code) == (429, 503)


def test_of_several_mistakes_the_first_is_told_without_its_value():
    secret = "x" * 1000
    mistakes = [
        {"type": "string_type", "loc": ("body", "messages", 0), "msg": "wrong", "input": secret},
        {"type": "extra_forbidden", "loc": ("body", "foo"), "msg": "extra", "input": secret},
    ]
    refusal = invalid(mistakes)
    assert refusal.detail == "messages.0: wrong (and 1 more)"
    assert refusal.param == "messages.0"
    assert invalid(mistakes[1:]).detail == "foo is not supported; leave it out"


def test_a_bug_is_logged_without_its_message(caplog):
    said = "what a client said"
    try:
        raise RuntimeError(said)
    except RuntimeError as error:
        log_bug(error)
    assert "RuntimeError" in caplog.text
    assert "test_errors.py" in caplog.text
    assert said not in caplog.text


def test_paths_and_methods_that_there_are_not():
    client = client_of(ScriptedEngine())
    assert error_of(client.get("/nix"), 404)["message"] == "GET /nix: Not Found"
    assert "Method Not Allowed" in error_of(client.get("/v1/chat/completions"), 405)["message"]


def test_who_left_gets_no_error():
    app = FastAPI()
    handle_errors(app)

    @app.get("/")
    async def leave():
        raise ClientLeft

    assert TestClient(app).get("/").status_code == 499


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/v1/chat/completions", b"application/json"),
        ("/v1/audio/transcriptions", b"multipart/form-data; boundary=x"),
    ],
)
def test_who_leaves_while_sending_is_no_bug(path, content_type, caplog):
    came = iter([{"type": "http.request", "body": b"--x\r\n", "more_body": True}])

    async def receive():
        return next(came, {"type": "http.disconnect"})

    async def send(message):
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [(b"content-type", content_type)],
    }
    asyncio.run(client_of(ScriptedEngine()).app(scope, receive, send))
    assert "a bug" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_bug_behind_the_engine_is_told_as_one(stream, caplog):
    engine = ScriptedEngine()
    engine.fails = RuntimeError("what a client said")
    with caplog.at_level(logging.INFO):
        error = error_of(post(client_of(engine), chat(stream=stream)), 500)
    assert "its log has the place" in error["message"]
    assert "RuntimeError" in caplog.text
    assert "what a client said" not in caplog.text + error["message"]
