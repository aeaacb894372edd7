"""Malformed requests, made from a seed: each is refused in OpenAI's form, and the next answered."""

import copy
import gc
import json
import os
import random
import warnings
from pathlib import Path

import pytest
from scripted import ScriptedEngine, chat, client_of, error_of, post, sent, tone

from pal_plugin.hosts.server.decoding import Decoder

#: Values in place of others.
JUNK = (
    *(None, True, False, 0, -1, 1.5, 1e308, 2**70, float("nan"), float("inf")),
    *("", " ", "\0", "\ud800", "ä" * 300, "/etc/passwd", "file:///etc/passwd"),
    *("http://localhost/", "data:,", "data:audio/wav;base64,AAAA", [], {}, [[]], {"": {}}),
    *([None], {"type": "audio"}, {"role": "user"}),
)
NAMES = ("tools", "audio", "path", "url", "", "__proto__", "model", "stream", "n", "file")
BODIES = (
    chat(),
    chat([{"type": "text", "text": "What is it?"}, sent(tone(0.02))]),
    chat([{"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,UklGRg=="}}]),
    chat(n=2, temperature=0.5, top_p=0.9, seed=3, stop=["\n"], max_tokens=8),
    chat(stream=True, stream_options={"include_usage": True}, logprobs=True, top_logprobs=2),
)
JSON_TYPES = ("application/json", "text/plain", "application/x-www-form-urlencoded", "", "a/b; c=")
FORM_TYPES = ("multipart/form-data; boundary=x", "multipart/form-data", "application/json")
FORM = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="' + name + b'"' + rest + b"\r\n"
    for name, rest in (
        (b"model", b"\r\n\r\ntoy"),
        (b"temperature", b"\r\n\r\n0.5"),
        (b"file", b'; filename="a.wav"\r\n\r\n' + tone(0.02)),
    )
)
FORM += b"--x--\r\n"


def nodes(value):
    """(container, key) of all that is in a body."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from nodes(value[key])


def changed(rng, body):
    """A body with a few of its parts gone, doubled, added or replaced."""
    body = {"": copy.deepcopy(body)}
    for _ in range(rng.randint(1, 3)):
        container, key = rng.choice(list(nodes(body)))
        how = rng.randrange(4)
        if how == 0 and container is not body:
            del container[key]
        elif how == 1 and isinstance(container[key], dict):
            container[key][rng.choice(NAMES)] = rng.choice(JUNK)
        elif how == 2 and isinstance(container[key], list):
            container[key] *= rng.choice((2, 3, 40))
        else:
            container[key] = copy.deepcopy(rng.choice(JUNK))
    return body[""]


def damaged(rng, data):
    """Bytes with some of them changed, or cut off."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data[: rng.choice((len(data), rng.randrange(len(data))))])


def request_of(rng):
    """Method, path, bytes and headers of one request."""
    kind = rng.randrange(8)
    path, content_type = "/v1/chat/completions", "application/json"
    if kind <= 3:
        body = json.dumps(changed(rng, rng.choice(BODIES))).encode()
    elif kind == 4:
        body = damaged(rng, json.dumps(rng.choice(BODIES)).encode())
    elif kind == 5:
        clip = damaged(rng, tone(0.02, form=rng.choice(("WAV", "FLAC", "OGG", "MP3"))))
        body = json.dumps(chat([sent(clip)])).encode()
    elif kind == 6:
        path, content_type = "/v1/audio/transcriptions", rng.choice(FORM_TYPES)
        body = damaged(rng, FORM)
    else:
        body = rng.choice((b"", rng.randbytes(200), b"[" * 10000, b'{"a":' * 10000, b"null"))
        content_type = rng.choice(JSON_TYPES)
        path = rng.choice((path, "/v1/audio/transcriptions", "/v1/models", "/v1/%00", "/%2e%2e/a"))
    method = "POST" if kind < 7 else rng.choice(("POST", "PUT", "DELETE", "PATCH", "OPTIONS"))
    headers = {"Content-Type": content_type} if content_type else {}
    return method, path, body, headers


def ask(client, engine, rng, times):
    """So many malformed requests; how many of each status."""
    found = {}
    for number in range(times):
        method, path, body, headers = request_of(rng)
        answer = client.request(method, path, content=body, headers=headers)
        status = answer.status_code
        assert status < 500, (number, method, path, body[:300], answer.text)
        if status >= 400:
            assert error_of(answer, status)["message"], (number, body[:300])
        elif answer.headers["content-type"].startswith("application/json"):
            json.loads(answer.text)
        found[status] = found.get(status, 0) + 1
        engine.asked.clear()
        engine.tickets.clear()
        engine.threads.clear()
    return found


@pytest.fixture
def served():
    engine = ScriptedEngine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how the test client treats deprecated requests
        limits = {"max_clips": 8, "max_seconds": 2, "max_body": 1}
        with client_of(engine, decoder=Decoder(20), **limits) as client:
            yield engine, client


def test_malformed_requests_are_refused(served):
    engine, client = served
    found = ask(client, engine, random.Random(0), 300)
    assert found[400] > 150  # else they are hardly malformed
    assert post(client, chat()).status_code == 200


@pytest.mark.slow
def test_ten_thousand_of_them_leave_memory_flat(served):
    engine, client = served
    rng = random.Random(1)
    ask(client, engine, rng, 2000)
    before = resident_mib(client)
    found = ask(client, engine, rng, 10_000)
    grown = resident_mib(client) - before
    assert found[400] > 5000
    assert post(client, chat([sent(tone())])).status_code == 200
    assert grown < 16, f"{grown:.1f} MiB more after {found}"


def resident_mib(client):
    """Memory of this process and its decoders."""
    gc.collect()
    pids = [os.getpid(), *client.app.state.decoder.pids()]
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20
