"""The page by itself on a free port; its port is free again afterwards."""

import httpx
import pytest

from pal_plugin.hosts.page.alone import running

pytestmark = pytest.mark.slow


def test_it_comes_and_goes(gradio, tiny_model):
    from pal_plugin.serving.engine import Engine

    with Engine(tiny_model("lal")) as engine:
        with running(engine, "tiny") as url:
            assert "tiny" in httpx.get(f"{url}/config").text
        with pytest.raises(httpx.ConnectError):
            httpx.get(url)
