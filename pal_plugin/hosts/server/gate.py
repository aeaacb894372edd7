"""What every request passes first: host, key, readiness, room and size; and the log of what left.

Plain ASGI, so that streams pass through it as they come.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import time
from typing import Any

import anyio
from starlette.datastructures import Headers

from pal_plugin.hosts.server.errors import BUG, Refusal, busy, log_bug, unavailable
from pal_plugin.hosts.server.metrics import Metrics
from pal_plugin.hosts.server.settings import Settings, option

logger = logging.getLogger(__name__)

API, HEALTH = "/v1/", "/health"
#: Paths that are counted under their own name.
PATHS = (
    "/v1/chat/completions",
    "/v1/audio/transcriptions",
    "/v1/models",
    HEALTH,
    "/metrics",
)


class State:
    """Whether the server answers: "warming", "ready" or "stopping"."""

    def __init__(self) -> None:
        self.now = "warming"


class Gate:
    """ASGI middleware; see above.

    Args:
        app: what is behind it.
        settings: key, hosts, limits.
        state: of the server.
        metrics: count what is answered.
    """

    def __init__(self, app: Any, settings: Settings, state: State, metrics: Metrics) -> None:
        self.app, self.settings = app, settings
        self.state, self.metrics = state, metrics
        self._inside = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), None

        async def watched(message: dict[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        is_api = scope["path"].startswith(API)
        refusal = self._refusal(scope, Headers(scope=scope))
        self._inside += is_api
        try:
            if refusal is not None:
                await refusal.response()(scope, receive, watched)
            else:
                await self.app(scope, self._limited(receive) if is_api else receive, watched)
        except Exception as error:
            log_bug(error)
            if status is None:
                await Refusal(500, BUG).response()(scope, receive, watched)
        finally:
            self._inside -= is_api
            self._told(scope, status or 499, time.perf_counter() - begun)

    def _told(self, scope: dict[str, Any], status: int, seconds: float) -> None:
        path = scope["path"] if scope["path"] in PATHS else "other"
        self.metrics.answered(path, status, seconds)
        level = logging.DEBUG if path == HEALTH else logging.INFO
        logger.log(level, "%s %s %d %.3f s", scope["method"], path, status, seconds)

    def _refusal(self, scope: dict[str, Any], headers: Headers) -> Refusal | None:
        """Why a request is not let in; None: it is."""
        if not self._is_host(headers.get("host", "")):
            return Refusal(
                403,
                "the Host header names another host than this server has; `pal serve --allow-host "
                "NAME` allows it",
                "unknown_host",
            )
        if scope["path"] == HEALTH:
            return None
        if self.settings.key is not None and not self._has_key(headers.get("authorization", "")):
            return Refusal(
                401,
                "expected the server's API key, as `Authorization: Bearer KEY`",
                "invalid_api_key",
                headers={"WWW-Authenticate": 'Basic realm="pal serve; any user, the key"'},
            )
        if not scope["path"].startswith(API) or scope["method"] != "POST":
            return None
        if self.state.now != "ready":
            return unavailable(f"the server is {self.state.now}; try again later")
        limits = self.settings.limits
        most = limits.max_batch + limits.max_waiting
        if self._inside >= most:
            return busy(f"{most} requests are being answered or wait; ask again later")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limits.max_body << 20:
            return self._too_large()
        return None

    def _is_host(self, host: str) -> bool:
        hosts = self.settings.hosts
        if hosts is None:
            return True
        name = host.lower()
        if not name.endswith("]"):
            name = name.rpartition(":")[0] if ":" in name else name
        return name in hosts

    def _has_key(self, given: str) -> bool:
        """By `Bearer KEY`, or by `Basic`, with which browsers come back; in constant time."""
        scheme, _, value = given.partition(" ")
        if scheme.lower() == "basic":
            try:
                value = base64.b64decode(value, validate=True).decode("latin-1").partition(":")[2]
            except (ValueError, binascii.Error):
                return False
        elif scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(value.encode("utf-8"), self.settings.key.encode())

    def _too_large(self) -> Refusal:
        most = self.settings.limits.max_body
        return Refusal(
            413,
            f"the body is larger than {most} MiB ({option('max_body')}); send shorter or "
            "compressed clips",
            "too_large",
        )

    def _limited(self, receive: Any) -> Any:
        """`receive`, until the body is too large or comes too slowly."""
        limits = self.settings.limits
        come, whole = 0, False
        ends = anyio.current_time() + limits.max_upload

        async def counted() -> dict[str, Any]:
            nonlocal come, whole
            if whole:  # waits until the client leaves
                return await receive()
            message = None
            with anyio.move_on_after(max(0, ends - anyio.current_time())):
                message = await receive()
            if message is None:
                raise Refusal(
                    408,
                    f"the body took more than {limits.max_upload} s ({option('max_upload')})",
                    "timeout",
                )
            if message["type"] == "http.disconnect":
                return message
            come += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if come > limits.max_body << 20:
                raise self._too_large()
            return message

        return counted
