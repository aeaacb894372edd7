"""The page without the rest of `pal serve`: for its tests and its screenshots."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pal_plugin.hosts.page import mount
from pal_plugin.serving.engine import Engine


@contextmanager
def running(engine: Engine, name: str = "the model") -> Iterator[str]:
    """The page on a free port of 127.0.0.1: `with running(engine) as url`."""
    import uvicorn
    from fastapi import FastAPI

    app = mount(FastAPI(), engine, name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]})
        thread.start()
        try:
            while not server.started:
                if not thread.is_alive():
                    raise RuntimeError("the page's server ended before it started; see its log")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{free.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
