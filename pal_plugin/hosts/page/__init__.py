"""A page to ask a model about sounds, on Gradio; part of `pal serve`.

Needs `pip install 'pal-plugin[page]'`. All that the page shows comes from this machine: Gradio's
analytics are off, its theme is made of system fonts, and no address in a request is opened.

`clips`, `pictures` and `talk` know nothing of Gradio; `layout` puts it together.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from pal_plugin.utils.errors import ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pal_plugin.serving.engine import Engine


def mount(app: FastAPI, engine: Engine, name: str = "the model") -> FastAPI:
    """The app with the page at `/`; routes that it has already come first.

    Args:
        engine: answers; it stays open as long as the app runs.
        name: the model's, as the page shows it.

    Raises:
        ConfigError: Gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio: pip install 'pal-plugin[page]'")
    from pal_plugin.hosts.page.mounting import mounted

    return mounted(app, engine, name)
