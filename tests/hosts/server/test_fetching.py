"""Clips are fetched from hosts that are named, and from no other place."""

import asyncio
import socket

import pytest
from servers import serving

from pal_plugin.hosts.server.errors import Refusal
from pal_plugin.hosts.server.fetching import Fetcher


def fetch(address, *hosts, most=1000, seconds=20):
    return asyncio.run(Fetcher(hosts, most, seconds).fetch(address, "clip"))


@pytest.fixture(scope="module")
def served():
    with serving() as served:
        served.files["/a.wav"] = b"x" * 500
        yield served


def test_a_named_host_is_fetched_from_also_where_it_is_private(served):
    host = served.url.removeprefix("http://")
    assert fetch(f"{served.url}/a.wav", "example.org", host) == b"x" * 500


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.org/a",
        "http://",
        "http://[",
        "http://other.example/a",
        "http://example.org:81/a",
        "http://user@example.org/a",
        "http://example.org@other.example/a",
        "\x00",
    ],
)
def test_other_places_are_not_opened(address, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", never)
    with pytest.raises(Refusal, match="is not fetched") as caught:
        fetch(address, "example.org")
    assert caught.value.status_code == 400


def test_a_name_does_not_lead_into_a_private_network(served):
    port = served.url.rpartition(":")[2]
    before = len(served.asked)
    with pytest.raises(Refusal, match="localhost is a private address"):
        fetch(f"http://localhost:{port}/a.wav", f"localhost:{port}")
    assert len(served.asked) == before


def test_what_is_not_there_is_told(served):
    with pytest.raises(Refusal, match=r"127\.0\.0\.1 answered 404; expected 200"):
        fetch(f"{served.url}/b.wav", served.url.removeprefix("http://"))


def test_redirects_are_not_followed(served):
    served.status = 302
    try:
        with pytest.raises(Refusal, match="302; expected 200 .redirects are not followed"):
            fetch(f"{served.url}/a.wav", served.url.removeprefix("http://"))
    finally:
        served.status = None


def test_a_large_file_is_not_read_to_its_end(served):
    with pytest.raises(Refusal) as caught:
        fetch(f"{served.url}/a.wav", served.url.removeprefix("http://"), most=499)
    assert caught.value.status_code == 413


def test_a_host_that_is_silent_or_away():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Refusal, match=r"took more than 0.1 s") as caught:
            fetch(f"http://{host}/a", host, seconds=0.1)
        assert caught.value.status_code == 504
    with pytest.raises(Refusal, match="127.0.0.1 failed"):
        fetch(f"http://{host}/a", host)
