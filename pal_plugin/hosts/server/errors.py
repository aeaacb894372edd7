"""Refusals: a status code, and a body as OpenAI's, whose sentence says what was expected."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

logger = logging.getLogger(__name__)

#: To a client; what it was is in the log.
BUG = "the server failed on this request; its log has the place"
_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class Refusal(HTTPException):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: what was expected, what came, what to do.
        code: a short name of the reason, for programs.
        param: the field of the request that is concerned.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers or {}))
        self.code, self.param = code, param

    def body(self) -> dict[str, Any]:
        """As OpenAI's errors."""
        return error_body(self.status_code, str(self.detail), self.code, self.param)

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body(), self.status_code, self.headers)


class ClientLeft(Exception):
    """Nobody waits for the answer any more."""


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def busy(message: str) -> Refusal:
    """429: too much is asked at a time."""
    return Refusal(429, message, "busy", headers={"Retry-After": "1"})


def unavailable(message: str) -> Refusal:
    """503: not ready yet, or no more."""
    return Refusal(503, message, "unavailable", headers={"Retry-After": "1"})


def log_bug(error: BaseException) -> None:
    """What an error was and where; its message, which may quote a request, is left out."""
    where = "".join(traceback.format_tb(error.__traceback__))
    logger.error("%s, a bug:\n%s", type(error).__name__, where)


def invalid(errors: list[dict[str, Any]]) -> Refusal:
    """400 for pydantic's `errors`, without what came, which may be long."""
    first, more = errors[0], len(errors) - 1
    place = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(place) or None
    if first["type"] == "extra_forbidden":
        message = f"{param} is not supported; leave it out"
    elif first["type"] == "json_invalid":
        param, message = None, f"the body is not JSON: {first['ctx']['error']}"
    elif param is None and first["type"] != "value_error":
        message = "expected a JSON object, with Content-Type: application/json"
    else:
        message = ": ".join(filter(None, (param, first["msg"].removeprefix("Value error, "))))
    if more:
        message += f" (and {more} more)"
    return Refusal(400, message, "invalid_value", param)


def handle_errors(app: FastAPI) -> None:
    """Let all errors of `app` be answered in this form."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if not isinstance(error, Refusal):
            known = error.detail
            if error.status_code in (404, 405):
                known = f"{request.method} {request.url.path:.100}: {error.detail}"
            error = Refusal(error.status_code, known, headers=error.headers)
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return invalid(list(error.errors())).response()

    @app.exception_handler(ClientDisconnect)  # while its body came
    @app.exception_handler(ClientLeft)
    async def _left(request: Request, error: Exception) -> JSONResponse:
        return Refusal(499, "the client left").response()
