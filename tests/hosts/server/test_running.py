"""Until a signal: what runs is finished, what comes is refused, and the process ends well."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from scripted import ScriptedEngine, chat, client_of

from pal_plugin.hosts.server.running import listen, make
from pal_plugin.utils.errors import UserError


def test_a_port_in_use_is_told_before_a_model_is_loaded():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        first.listen()
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}: .*--port"):
            listen("127.0.0.1", port)
    for host, port in (("nowhere.invalid", 0), ("127.0.0.1", 70000)):
        with pytest.raises(UserError, match="cannot listen on"):
            listen(host, port)


class Running:
    """A server with a scripted engine, in a thread."""

    def __init__(self, stopping_s, **limits):
        self.engine = ScriptedEngine()
        app = client_of(self.engine, **limits).app
        listener = listen("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.server = make(app, stopping_s)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()
        until(lambda: self.server.started)

    def client(self):
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)


def until(is_so):
    ended = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ended
        time.sleep(0.002)


def test_a_signal_finishes_what_runs_and_refuses_what_comes():
    running = Running(stopping_s=60)
    running.engine.go.clear()
    found = {}

    def ask():
        with running.client() as client:
            found["whole"] = client.post("/v1/chat/completions", json=chat())

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: len(running.engine.asked) == 2)  # the first is the warm-up
    with running.client() as open_before:
        assert open_before.get("/health").json() == {"status": "ready"}
        running.server.handle_exit(signal.SIGTERM, None)
        until(lambda: not running.server.servers[0].is_serving())
        with pytest.raises(httpx.ConnectError), running.client() as late:
            late.get("/health")
    assert running.thread.is_alive()
    running.engine.go.set()
    asking.join()
    running.thread.join()
    assert found["whole"].json()["choices"][0]["message"]["content"] == "a bell"


def test_what_does_not_end_is_given_up():
    running = Running(stopping_s=1)
    running.engine.go.clear()
    found = []

    def ask():
        with running.client() as client:
            try:
                found.append(client.post("/v1/chat/completions", json=chat()).status_code)
            except httpx.HTTPError as error:
                found.append(type(error))

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: len(running.engine.asked) == 2)  # the first is the warm-up
    running.server.handle_exit(signal.SIGTERM, None)
    running.thread.join()
    running.engine.go.set()
    asking.join()
    assert found != [200]
    assert running.engine.tickets[-1].cancelled.is_set()


@pytest.mark.parametrize("sends", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nContent-Len"])
def test_half_a_request_holds_nothing_up(sends):
    running = Running(stopping_s=1)
    with socket.create_connection(("127.0.0.1", running.port)) as half:
        half.sendall(sends)
        with running.client() as client:
            assert client.post("/v1/chat/completions", json=chat()).status_code == 200
        running.server.handle_exit(signal.SIGTERM, None)
        running.thread.join()


@pytest.mark.slow
def test_a_signal_ends_the_process_with_what_runs_answered(tmp_path):
    """`pal serve` itself, which is asked at length and gets SIGTERM meanwhile."""
    root = Path(__file__).parents[3]
    environ = {**os.environ, "PYTHONPATH": str(root), "PAL_API_KEY": "open-sesame"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pal_plugin", "serve", "--model", "lal", "--no-page"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=environ, stdout=log, stderr=log, cwd=tmp_path
        )
    try:
        client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            timeout=300,
            headers={"Authorization": "Bearer open-sesame"},
        )
        _until_ready(client, process)
        body = chat(max_tokens=200, temperature=2.0, seed=0, stream=True) | {"model": "lal"}
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert '"finish_reason":"' in rest[-2]
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    log = (tmp_path / "log").read_text()
    assert log.rstrip().endswith("stopped")
    assert "open-sesame" not in log


def _until_ready(client, process):
    ended = time.monotonic() + 300
    while True:
        assert process.poll() is None
        assert time.monotonic() < ended
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.ConnectError:
            pass
        time.sleep(0.05)
