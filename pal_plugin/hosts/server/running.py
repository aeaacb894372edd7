"""Runs the application until a signal ends it: what runs is finished, what comes is refused."""

from __future__ import annotations

import signal
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from pal_plugin.utils.errors import UserError


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that a port in use is known before a model is loaded; clients are
    answered from `run` on.

    Raises:
        UserError: the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        raise UserError(
            f"cannot listen on {host}, port {port}: {error}. Choose others with --host and --port"
        ) from error
    return listener


class _Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.config.app.state.server.now = "stopping"  # for connections that are open
        super().handle_exit(sig, frame)


def run(app: FastAPI, listener: socket.socket, stopping_s: int) -> None:
    """Serve until SIGTERM or SIGINT; returns once everything has been answered.

    Args:
        app: from `app.build`, perhaps with a page.
        listener: from `listen`.
        stopping_s: time for what runs, once a signal has come.
    """
    server = make(app, stopping_s)
    # uvicorn raises the signal again once it has stopped: here that is the end, and not a death.
    handlers = {sig: signal.signal(sig, _ended) for sig in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[listener])
    finally:
        for sig, handler in handlers.items():
            signal.signal(sig, handler)


def make(app: FastAPI, stopping_s: int) -> uvicorn.Server:
    """The server, not started; its own log has neither requests nor answers."""
    return _Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,  # the gate's is without queries
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=stopping_s,
        )
    )


def _ended(sig: int, frame: FrameType | None) -> None:
    return
