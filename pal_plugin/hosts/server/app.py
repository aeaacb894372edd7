"""The application: endpoints, behind the gate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from openai.types import Model
from starlette.concurrency import run_in_threadpool

from pal_plugin.hosts.server.chat import Chat, check_model
from pal_plugin.hosts.server.decoding import Decoder
from pal_plugin.hosts.server.errors import handle_errors, log_bug
from pal_plugin.hosts.server.gate import Gate, State
from pal_plugin.hosts.server.messages import Reader
from pal_plugin.hosts.server.metrics import Metrics
from pal_plugin.hosts.server.schema import ChatRequest
from pal_plugin.hosts.server.settings import Settings
from pal_plugin.hosts.server.transcription import Transcriptions
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Request as Question
from pal_plugin.version import __version__

logger = logging.getLogger(__name__)


def build(engine: Engine, settings: Settings, decoder: Decoder | None = None) -> FastAPI:
    """The application, with its `State` as `app.state.server` and its `app.state.decoder`.

    Ending it ends the decoder; the engine is left to whoever made it.

    Args:
        engine: answers.
        settings: how the server is reached, and its limits.
        decoder: of clips; None: its own.
    """
    state, metrics = State(), Metrics(engine.stats)
    decoder = decoder or Decoder(settings.limits.max_decoding)
    reader = Reader(settings, decoder)
    model = Model(
        id=settings.name, object="model", created=int(time.time()), owned_by="pal_plugin"
    ).model_dump(exclude_unset=True)
    fingerprint = engine.model.fingerprint()[:12]
    chat = Chat(engine, settings, reader, metrics, fingerprint)
    transcriptions = Transcriptions(engine, settings, reader, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        decoder.start()
        warming = asyncio.create_task(_warm_up(engine, settings, state))
        yield
        state.now = "stopping"
        warming.cancel()
        decoder.close()

    # Their pages of documentation would load scripts from elsewhere.
    app = FastAPI(
        title="pal serve", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.server, app.state.decoder = state, decoder
    app.add_middleware(Gate, settings=settings, state=state, metrics=metrics)
    handle_errors(app)

    @app.get("/health")
    async def health() -> JSONResponse:
        status = state.now if engine.is_open or state.now == "stopping" else "failed"
        return JSONResponse({"status": status}, 200 if status == "ready" else 503)

    @app.get("/metrics")
    async def figures() -> Response:
        return Response(metrics.text(), media_type=metrics.content_type)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        check_model(name, settings)
        return model

    @app.post("/v1/chat/completions")
    async def completions(http: Request, body: ChatRequest) -> Response:
        return await chat.answer(http, body)

    @app.post("/v1/audio/transcriptions")
    async def transcribe(http: Request) -> Response:
        return await transcriptions.answer(http)

    return app


async def _warm_up(engine: Engine, settings: Settings, state: State) -> None:
    """One answer about a second of silence, so that the first client does not wait longer."""
    silence = (np.zeros(16000, np.float32), 16000)
    parts = [{"type": "audio", "audio": silence}, {"type": "text", "text": settings.question}]
    question = Question([{"role": "user", "content": parts}], max_new_tokens=2)
    begun = time.perf_counter()
    try:
        await run_in_threadpool(lambda: engine.submit(question).result())
    except Exception as error:  # it may still answer other questions
        log_bug(error)
    if state.now == "warming":
        state.now = "ready"
        logger.info("ready, after a warm-up of %.1f s", time.perf_counter() - begun)
