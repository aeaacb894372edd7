"""The page on an app: beside its routes, without analytics, and opening no address."""

import importlib.util
import json
import os

import pytest

from pal_plugin.hosts.page import mount
from pal_plugin.utils.errors import ConfigError


def test_without_gradio_the_extra_is_named(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name)
    )
    with pytest.raises(ConfigError, match=r"pip install 'pal-plugin\[page\]'"):
        mount(None, None)


@pytest.mark.slow
def test_routes_of_the_app_come_first_and_the_page_behind(gradio):
    from fastapi import FastAPI
    from fastapi.testclient import TestClient

    app = FastAPI()
    app.get("/health")(lambda: {"status": "ready"})
    with TestClient(mount(app, None, "small <1>")) as client:
        assert client.get("/health").json() == {"status": "ready"}
        page = client.get("/")
        assert page.status_code == 200
        config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    html = str(config["components"])
    assert "Model: small &lt;1&gt;" in html
    assert all(d["api_visibility"] == "private" for d in config["dependencies"])


@pytest.mark.slow
def test_no_address_and_no_path_of_a_request_is_opened(url, tmp_path):
    import httpx

    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    config = httpx.get(f"{url}/config").json()
    (audio,) = (c["id"] for c in config["components"] if c["type"] == "audio")
    (reads,) = (d for d in config["dependencies"] if d["inputs"] == [audio])
    for path in ("http://example.org/a.wav", str(tmp_path / "secret.wav"), "/etc/hostname"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        asked = {"fn_index": reads["id"], "session_hash": "s", "data": [file]}
        joined = httpx.post(f"{url}/gradio_api/queue/join", json=asked)
        assert joined.status_code == 200
        with httpx.stream(
            "GET", f"{url}/gradio_api/queue/data", params={"session_hash": "s"}, timeout=60
        ) as stream:
            told = [json.loads(line[6:]) for line in stream.iter_lines() if line]
        (done,) = (message for message in told if message["msg"] == "process_completed")
        assert not done["success"]
        assert ("opens no addresses" in str(done)) == path.startswith("http")
        read = httpx.get(f"{url}/gradio_api/file={path}")
        assert read.status_code in (302, 307, 403)
