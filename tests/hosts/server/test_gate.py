"""Who gets in: the right host, the right key, while there is room."""

import asyncio
import base64
import itertools
import logging
import threading

import pytest
from scripted import ScriptedEngine, chat, client_of, error_of, post, sent, tone

KEY = "open-sesame"


def basic(user_and_key):
    return f"Basic {base64.b64encode(user_and_key.encode()).decode()}"


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        KEY,
        "Bearer",
        "Bearer ",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer  {KEY}",
        "Bearer \xe4",
        f"Token {KEY}",
        "Basic !",
        basic(KEY),
        basic(f"{KEY}:"),
    ],
)
def test_without_the_key_nothing_is_answered(given):
    engine = ScriptedEngine()
    client = client_of(engine, key=KEY)
    headers = {} if given is None else {"Authorization": given.encode("latin-1")}
    for answer in (
        post(client, chat(), headers=headers),
        client.get("/v1/models", headers=headers),
        client.get("/metrics", headers=headers),
        client.get("/", headers=headers),
        client.get("/openapi.json", headers=headers),
    ):
        assert error_of(answer, 401)["code"] == "invalid_api_key"
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert engine.asked == []
    assert client.get("/health", headers=headers).status_code == 200


@pytest.mark.parametrize("given", [f"Bearer {KEY}", f"bearer {KEY}", basic(f"any:{KEY}")])
def test_with_the_key(given):
    headers = {"Authorization": given}
    assert post(client_of(ScriptedEngine(), key=KEY), chat(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("host", "is_let_in"),
    [
        ("localhost", True),
        ("LOCALHOST:8000", True),
        ("[::1]", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("evil.example:8000", False),
        ("localhost.evil.example", False),
        ("", False),
        ("[::2]:8000", False),
    ],
)
def test_a_page_elsewhere_cannot_ask_by_a_name_of_its_own(host, is_let_in):
    client = client_of(ScriptedEngine(), hosts=("localhost", "[::1]"))
    answer = post(client, chat(), headers={"Host": host})
    if is_let_in:
        assert answer.status_code == 200
    else:
        assert error_of(answer, 403)["code"] == "unknown_host"


@pytest.mark.parametrize("now", ["warming", "stopping"])
def test_requests_wait_until_it_is_ready_and_come_too_late(now):
    client = client_of(ScriptedEngine())
    client.app.state.server.now = now
    answer = post(client, chat())
    assert now in error_of(answer, 503)["message"]
    assert answer.headers["Retry-After"] == "1"
    health = client.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": now})
    assert client.get("/v1/models").status_code == 200


def test_a_model_that_failed_is_no_healthy_server():
    engine = ScriptedEngine()
    client = client_of(engine)
    assert client.get("/health").status_code == 200
    engine.is_open = False
    health = client.get("/health")
    assert (health.status_code, health.json()) == (503, {"status": "failed"})


def test_a_large_body_is_refused_by_its_length_and_by_what_comes():
    engine = ScriptedEngine()
    client = client_of(engine, max_body=1)
    body = b" " * (1 << 20) + b"{}"
    headers = {"Content-Type": "application/json"}

    def pieces():
        for start in range(0, len(body), 1 << 16):
            yield body[start : start + (1 << 16)]

    for content in (body, pieces()):
        answer = client.post("/v1/chat/completions", content=content, headers=headers)
        assert "larger than 1 MiB (--max-body)" in error_of(answer, 413)["message"]
    begun = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    form = client.post(
        "/v1/audio/transcriptions", content=itertools.chain([begun], pieces()), headers=headers
    )
    error_of(form, 413)
    assert engine.asked == []


def test_more_requests_than_there_is_room_for():
    engine = ScriptedEngine()
    client = client_of(engine, max_batch=1, max_waiting=1)
    engine.go.clear()
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(post(client, chat()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    while len(engine.asked) < 2:
        pass
    refused = post(client, chat())
    assert error_of(refused, 429)["code"] == "busy"
    assert refused.headers["Retry-After"] == "1"
    assert client.get("/v1/models").status_code == 200
    engine.go.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert post(client, chat()).status_code == 200


def test_a_body_that_does_not_come():
    client = client_of(ScriptedEngine(), max_upload=1)
    sent_back = []

    async def never():
        await asyncio.sleep(60)

    async def send(message):
        sent_back.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(client.app(scope, never, send))
    assert sent_back[0]["status"] == 408
    assert b"took more than 1 s (--max-upload)" in sent_back[1]["body"]


def test_the_log_has_neither_audio_nor_keys_nor_words(caplog):
    client = client_of(ScriptedEngine(), key=KEY)
    clip = sent(tone())
    with caplog.at_level(logging.DEBUG):
        for key in (KEY, "wrong-key"):
            post(
                client,
                chat([clip, {"type": "text", "text": "my words"}]),
                headers={"Authorization": f"Bearer {key}"},
                params={"key": "in-the-query"},
            )
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("pal_plugin")]
    assert [line.rsplit(" ", 2)[0] for line in ours] == [
        "POST /v1/chat/completions 200",
        "POST /v1/chat/completions 401",
    ]
    for secret in (KEY, "wrong-key", "my words", "in-the-query", clip["input_audio"]["data"][:40]):
        assert not any(secret in line for line in ours)


def test_paths_are_counted_by_name_only_if_they_are_ours():
    client = client_of(ScriptedEngine())
    for number in range(3):
        client.get(f"/{number}")
    client.get("/health")
    figures = client.get("/metrics").text
    assert 'pal_requests_total{path="other",status="404"} 3.0' in figures
    assert 'pal_requests_total{path="/health",status="200"} 1.0' in figures
    assert '"/1"' not in figures
