"""`pal serve`: an HTTP server with OpenAI's interface. The work is done in `hosts.server`."""

from __future__ import annotations

import argparse
import importlib.util
import ipaddress
import logging
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from pal_plugin.hosts.server.settings import Limits, Settings, option
from pal_plugin.models.opening import find_model
from pal_plugin.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pal_plugin.serving.engine import Engine

#: The variable that the key is read from; an argument is visible to all users of the machine.
KEY = "PAL_API_KEY"
_HERE = ("localhost", "127.0.0.1", "[::1]")

HELP = f"""\
examples:
  pal serve --model lal
  pal serve --model output/RUN --port 9000
  {KEY}=$(openssl rand -hex 32) pal serve --host 0.0.0.0 --allow-host audio.example.org

  curl http://127.0.0.1:8000/v1/audio/transcriptions -F model=lal -F file=@clip.wav

Clients of OpenAI work with base_url="http://127.0.0.1:8000/v1"; a page is at
http://127.0.0.1:8000/. No path and no address in a request is opened, unless
--allow-url names its host. What is beyond a limit is refused with its status
code and a sentence. SIGTERM finishes what runs. See docs/serving.md.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """How to resume after Ctrl-C; arguments as in `train.resume`."""
    return "the same command starts again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal serve`."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="a type, a run folder, a folder of save_pretrained, or owner/name on the hub "
        "(default: the best that is here)",
    )
    parser.add_argument(
        "--name", help="the model's name in requests (default: the last part of MODEL)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on (8000); 0: any")
    parser.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"the key that requests must carry; better in the variable {KEY}, since arguments "
        "are visible to other users of the machine",
    )
    parser.add_argument(
        "--without-key",
        action="store_true",
        help="allow --host to be other than this machine without a key",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name in the Host header, such as that of a proxy's site; may be repeated",
    )
    parser.add_argument(
        "--allow-url",
        action="append",
        default=[],
        metavar="HOST[:PORT]",
        help="fetch clips at addresses of this host (audio_url); may be repeated. Redirects are "
        "not followed, and private addresses only used if named themselves",
    )
    parser.add_argument(
        "--transcription-question",
        default=Settings.question,
        metavar="TEXT",
        help="what a request for a transcript asks the model (%(default)s)",
    )
    parser.add_argument("--no-page", action="store_true", help="no page in the browser")
    limits = parser.add_argument_group("limits, and the status code beyond them")
    for one in fields(Limits):
        about = one.metadata
        limits.add_argument(
            option(one.name),
            type=int,
            default=one.default,
            metavar=about["unit"],
            help=f"{about['about']} (%(default)s; {about['status']})",
        )


def run(args: argparse.Namespace) -> int:
    """Serve until a signal. Returns the exit code."""
    needed = ("fastapi", "httpx", "openai", "prometheus_client", "python_multipart", "uvicorn")
    if any(importlib.util.find_spec(name) is None for name in needed):
        raise UserError("pal serve needs further packages: pip install 'pal-plugin[serve]'")
    found = find_model(args.model)
    settings = settings_of(args, Path(found.name).name)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each address

    from pal_plugin.hosts.server.running import listen
    from pal_plugin.hosts.server.running import run as serve

    listener = listen(args.host, args.port)  # before what takes long

    logging.info("loading %s", found.description)
    from transformers.utils.logging import disable_progress_bar

    from pal_plugin.hosts.server.app import build
    from pal_plugin.serving.engine import Engine

    disable_progress_bar()
    limits = settings.limits
    model = found.open()
    try:
        engine = Engine(model, max_batch=limits.max_batch, max_waiting=limits.max_waiting)
    except ValueError as error:
        raise UserError(f"{found.name} cannot be served: {error}") from error
    try:
        app = build(engine, settings)
        page = _mounted(app, engine, settings.name, args.no_page)
        address = "http://{}:{}".format(*listener.getsockname()[:2])
        logging.info("%s is served on %s/v1%s", settings.name, address, page)
        serve(app, listener, limits.max_stopping)
    finally:
        engine.close(finish=False)
    logging.info("stopped")
    return 0


def _mounted(app: FastAPI, engine: Engine, name: str, is_unwanted: bool) -> str:
    """Put the page onto "/"; returns a note for the log."""
    if is_unwanted:
        return ""
    if importlib.util.find_spec("gradio") is None:
        return "; for a page: pip install 'pal-plugin[page]'"
    from pal_plugin.hosts.page import mount

    mount(app, engine, name)
    return ", with a page at /"


def settings_of(args: argparse.Namespace, name: str) -> Settings:
    """The settings of the command line and of the environment.

    Args:
        name: of the model, if `--name` gives none.

    Raises:
        ConfigError: a value is out of range, or everybody could ask.
    """
    key = os.environ.get(KEY) if args.api_key is None else args.api_key
    here = _is_this_machine(args.host)
    if not here and key is None and not args.without_key:
        raise ConfigError(
            f"--host {args.host} answers other machines: set a key in the variable {KEY}, or say "
            "--without-key"
        )
    hosts = (*_HERE, *(name.lower() for name in args.allow_host))
    limits = Limits(**{one.name: getattr(args, one.name) for one in fields(Limits)})
    return Settings(
        name=args.name or name,
        key=key,
        hosts=hosts if here or args.allow_host else None,
        urls=tuple(args.allow_url),
        question=args.transcription_question,
        limits=limits,
    )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
