"""The page of a pocket model, and a real browser that looks at it."""

import importlib.util
import shutil
import sys
from types import SimpleNamespace

import pytest

#: Addresses that this process connected to while a page ran. An audit hook cannot be taken out.
CONNECTED: list = []
_LISTENING: list[bool] = []


def _audit(event, args):
    if event == "socket.connect" and _LISTENING and isinstance(args[1], tuple):
        CONNECTED.append(args[1][0])


@pytest.fixture(scope="session")
def gradio():
    return pytest.importorskip("gradio", reason="needs gradio: pip install 'pal-plugin[page]'")


@pytest.fixture(scope="session")
def url(gradio, tmp_path_factory):
    """The page of `lal`, for all tests."""
    from pal_plugin.hosts.page.alone import running
    from pal_plugin.models.audio_llm import AudioLLM
    from pal_plugin.serving.engine import Engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        sys.addaudithook(_audit)
        _LISTENING.append(True)
        with Engine(AudioLLM.from_pretrained("lal")) as engine, running(engine, "lal") as address:
            yield address
        _LISTENING.clear()


@pytest.fixture
def connected(url):
    """Addresses that the server's process connected to so far."""
    return CONNECTED


@pytest.fixture(scope="session")
def chromium():
    path = shutil.which("chromium")
    if path is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("needs Debian's chromium, and playwright (pip install 'pal-plugin[docs]')")
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"]
    arguments += [f"--use-fake-{name}-for-media-stream" for name in ("device", "ui")]
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(url, chromium):
    """`visit(width=1400, dark=False)`: the page in a session of its own.

    What it returns has `page` (playwright's), `asked` (addresses of all its requests) and `errors`
    (of its console).
    """
    opened = []

    def open_page(width=1400, dark=False):
        context = chromium.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            permissions=["microphone"],
        )
        opened.append(context)
        asked, errors = [], []
        context.on("request", lambda request: asked.append(request.url))
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        page.get_by_role("button", name="Ask", exact=True).wait_for()
        return SimpleNamespace(page=page, asked=asked, errors=errors)

    yield open_page
    for context in opened:
        context.close()
