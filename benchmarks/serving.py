"""Many clients at once: answered together beside one at a time, follow-ups beside cold ones."""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import queue
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from benchmarks import report, setting
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.serving.engine import Engine
from pal_plugin.serving.requests import Delta, Request

RATE_HZ = 16000
QUESTION, FOLLOW_UP, ANSWER = "What do you hear?", "Is it louder than before?", "a bell rings twice"
#: What is measured of a load; the first needs to be large, the others small.
FIGURES = ("requests per s", "first text, median", "first text, p95", "whole, median", "whole, p95")
Messages = list[dict[str, Any]]
#: Asks, and returns the seconds until the first text and until the end.
Ask = Callable[[Messages], tuple[float, float]]
_EPILOG = """\
examples:
  OMP_NUM_THREADS=1 python -m benchmarks.serving plits lal
  python -m benchmarks.serving small --device cuda --seconds 10 --answer 64
  pal serve --model lal & python -m benchmarks.serving --url http://127.0.0.1:8000

what is timed: clients that each ask, wait for the whole answer, and ask again. Questions are about
--clips clips (noise) in turn, which are encoded before; 0: each about one of its own, and encoding
is in the times. Every answer has the same number of tokens: end tokens are suppressed. One at a
time is the same engine with one place. Within a round all take turns, and ratios are made within a
round. Follow-ups: the last turn of a conversation whose earlier turns were answered just before,
beside an engine that knows neither them nor the clip. With --url the server's load is compared with
that of one client; its answers end where they end.
"""


@dataclass
class Load:
    """What some clients saw: seconds in all, and of each request."""

    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """`FIGURES`, in seconds."""
        values = [len(self.whole) / self.seconds]
        for times in (self.first, self.whole):
            values += [statistics.median(times), float(np.quantile(times, 0.95))]
        return dict(zip(FIGURES, values, strict=True))


class Questions:
    """Conversations about clips of noise.

    Args:
        seconds: of a clip.
        clips: how many there are; 0: a new one for each conversation.
    """

    def __init__(self, seconds: float, clips: int = 0) -> None:
        self._samples = round(seconds * RATE_HZ)
        self._random = np.random.default_rng(0)
        self._clips = itertools.cycle([self._clip() for _ in range(clips)]) if clips else None

    def _clip(self) -> tuple[np.ndarray, int]:
        return 0.1 * self._random.standard_normal(self._samples).astype(np.float32), RATE_HZ

    def ask(self, turns: int = 1) -> Messages:
        """A conversation that ends with its turn of this number."""
        clip = {"type": "audio", "audio": next(self._clips) if self._clips else self._clip()}
        messages = [{"role": "user", "content": [clip, {"type": "text", "text": QUESTION}]}]
        for _ in range(turns - 1):
            messages += [
                {"role": "assistant", "content": ANSWER},
                {"role": "user", "content": FOLLOW_UP},
            ]
        return messages


def load(ask: Ask, questions: Sequence[Messages], clients: int) -> Load:
    """The questions, asked by so many clients."""
    left: queue.SimpleQueue = queue.SimpleQueue()
    for messages in questions:
        left.put(messages)
    found, errors = Load(), []

    def client() -> None:
        while not errors:
            try:
                messages = left.get_nowait()
            except queue.Empty:
                return
            try:
                first, whole = ask(messages)
            except Exception as error:  # raised below, where somebody sees it
                errors.append(error)
                return
            found.first.append(first)
            found.whole.append(whole)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - begun
    if errors:
        raise errors[0]
    return found


def of_engine(engine: Engine, answer: int) -> Ask:
    """Asks an engine for answers of so many tokens."""

    def ask(messages: Messages) -> tuple[float, float]:
        begun, first = time.perf_counter(), None
        for piece in engine.submit(Request(messages, max_new_tokens=answer)):
            if first is None and isinstance(piece, Delta):
                first = time.perf_counter() - begun
        whole = time.perf_counter() - begun
        return whole if first is None else first, whole

    return ask


def of_server(url: str, answer: int, key: str | None) -> Ask:
    """Asks an OpenAI-compatible server, and reads its stream."""
    headers = {"Content-Type": "application/json"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    with urllib.request.urlopen(
        urllib.request.Request(f"{url.rstrip('/')}/v1/models", headers=headers)
    ) as reply:
        model = json.load(reply)["data"][0]["id"]

    def ask(messages: Messages) -> tuple[float, float]:
        body = {"model": model, "stream": True, "max_tokens": answer, "temperature": 0}
        body["messages"] = [{**m, "content": _sent(m["content"])} for m in messages]
        request = urllib.request.Request(
            f"{url.rstrip('/')}/v1/chat/completions", json.dumps(body).encode(), headers
        )
        begun, first = time.perf_counter(), None
        with urllib.request.urlopen(request) as reply:
            for line in reply:
                if first is None and line.startswith(b"data: {"):
                    choices = json.loads(line[6:])["choices"]
                    if choices and choices[0]["delta"].get("content"):
                        first = time.perf_counter() - begun
        whole = time.perf_counter() - begun
        return whole if first is None else first, whole

    return ask


def _sent(content: str | list[dict]) -> str | list[dict]:
    """A message's content as OpenAI has it."""
    if isinstance(content, str):
        return content
    parts = []
    for part in content:
        if part["type"] == "audio":
            file = io.BytesIO()
            soundfile.write(file, *part["audio"], format="WAV")
            data = base64.b64encode(file.getvalue()).decode()
            part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        parts.append(part)
    return parts


class Model:
    """A model by type, in engines that answer in different ways.

    Args:
        name: its type.

    Attributes:
        engines: "together", "one by one", and for follow-ups "known" and "cold".
    """

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        model = AudioLLM.from_pretrained(name).to(args.device).eval()
        model.llm.generation_config.suppress_tokens = list(model.text.end_ids)
        no_prefix = {"prefix_cache_bytes": 0, "max_waiting": max(args.clients)}
        self.name = name
        self.engines = {
            "together": Engine(model, max_batch=args.batch, **no_prefix),
            "one by one": Engine(model, max_batch=1, **no_prefix),
            "known": Engine(model),
            "cold": Engine(model, clip_cache_bytes=0, **no_prefix),
        }

    def load(self, way: str, questions: Sequence[Messages], clients: int, answer: int) -> Load:
        """The questions, asked by so many clients."""
        return load(of_engine(self.engines[way], answer), questions, clients)

    def close(self) -> None:
        """Ends the engines."""
        for engine in self.engines.values():
            engine.close(finish=False)


def measure(models: Sequence[Model], args: argparse.Namespace) -> dict[str, list[dict]]:
    """Ratios of medians over rounds, in which all models and ways take turns."""
    questions, talks = Questions(args.seconds, args.clips), Questions(args.seconds)
    found: dict[tuple, list[dict[str, float]]] = {}
    turns: dict[tuple[str, str], list[float]] = {}
    for number in range(args.rounds + 1):  # the first warms up
        for clients in args.clients:
            asked = [questions.ask() for _ in range(max(clients, args.requests))]
            for model in models:
                for way in ("together", "one by one"):
                    made = model.load(way, asked, clients, args.answer).figures()
                    if number:
                        found.setdefault((model.name, clients, way), []).append(made)
        for model in models:
            talk = talks.ask(args.turns)
            model.load("known", [talk[:-2]], 1, args.answer)
            for way in ("known", "cold"):
                (first,) = model.load(way, [talk], 1, args.answer).first
                if number:
                    turns.setdefault((model.name, way), []).append(first)
    rows = []
    for clients in args.clients:
        for model in models:
            ways = [found[model.name, clients, way] for way in ("together", "one by one")]
            rows.append({"model": model.name, "clients": clients, **_ratios(*ways)})
    follow_ups = [
        {
            "model": m.name,
            "cold / known": report.ratio(turns[m.name, "cold"], turns[m.name, "known"]),
        }
        for m in models
    ]
    beside = []
    if len(models) == 2:
        names = [model.name for model in models]
        for clients in args.clients:
            both = [found[name, clients, "together"] for name in names]
            beside.append({"clients": clients, **_ratios(*both)})
    return {"together": rows, "follow-ups": follow_ups, "beside": beside}


def measure_server(args: argparse.Namespace) -> list[dict]:
    """A server's load by so many clients, relative to one client."""
    questions, ask = (
        Questions(args.seconds, args.clips),
        of_server(args.url, args.answer, args.api_key),
    )
    found: dict[int, list[dict[str, float]]] = {}
    for number in range(args.rounds + 1):
        for clients in sorted({1, *args.clients}):
            asked = [questions.ask() for _ in range(max(clients, args.requests))]
            made = load(ask, asked, clients).figures()
            if number:
                found.setdefault(clients, []).append(made)
    return [{"clients": c, **_ratios(found[c], found[1])} for c in sorted(found)]


def _ratios(above: list[dict[str, float]], below: list[dict[str, float]]) -> dict[str, Any]:
    return {f: report.ratio([a[f] for a in above], [b[f] for b in below]) for f in FIGURES}


def markdown(found: dict[str, list[dict]], args: argparse.Namespace) -> str:
    """The tables."""
    figures = {f: (lambda row, f=f: report.with_spread(row[f])) for f in FIGURES}
    clients = {"clients": lambda row: str(row["clients"])}
    model = {"model": lambda row: row["model"]}
    parts = [
        f"Clips of {args.seconds:g} s, answers of {args.answer} tokens; medians and quartiles of "
        f"ratios within {args.rounds} rounds."
    ]
    if found.get("server"):
        parts += [
            "So many clients / one client",
            report.table({**clients, **figures}, found["server"]),
        ]
        return "\n\n".join(parts)
    parts += [
        "Together / one at a time",
        report.table({**model, **clients, **figures}, found["together"]),
    ]
    if found["beside"]:
        names = " / ".join(args.models)
        parts += [f"{names}, together", report.table({**clients, **figures}, found["beside"])]
    cold = {"cold / known": lambda row: report.with_spread(row["cold / known"])}
    parts += [
        f"First text of turn {args.turns}: nothing known / the turns before it known",
        report.table({**model, **cold}, found["follow-ups"]),
    ]
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> dict[str, list[dict]]:
    """Measure, print the tables, and return them."""
    args = _parser().parse_args(argv)
    torch.manual_seed(0)
    if args.url:
        found = {"server": measure_server(args)}
    else:
        models = [Model(name, args) for name in args.models]
        try:
            found = measure(models, args)
        finally:
            for model in models:
                model.close()
    text = markdown(found, args)
    print(text)
    if args.out is not None:
        facts = {"device": setting.device(args.device), "versions": setting.versions()}
        settings = {k: v for k, v in vars(args).items() if k not in ("out", "api_key")}
        report.write({**facts, "setting": settings, **found}, args.out, text)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, whole = parser.add_argument, setting.at_least(1)
    add("models", nargs="*", default=["plits", "lal"], help="types (default: plits lal)")
    add("--url", help="a server to ask instead, such as http://127.0.0.1:8000")
    add("--api-key", help="the server's key")
    add("--clients", nargs="+", type=whole, default=[1, 8, 64], help="default: 1 8 64")
    add("--requests", type=whole, default=32, help="of a load, at least (default: 32)")
    add("--batch", type=whole, default=16, help="answers at a time (default: 16)")
    add("--clips", type=int, default=8, help="0: one for each question (default: 8)")
    add("--seconds", type=float, default=5.0, help="of a clip (default: 5)")
    add("--answer", type=whole, default=16, help="tokens of an answer (default: 16)")
    add("--turns", type=setting.at_least(2), default=6, help="of a conversation (default: 6)")
    add("--rounds", type=whole, default=5, help="default: 5")
    add("--device", default="cpu", help="cpu or cuda")
    add("--out", type=Path, metavar="STEM", help="write STEM.json and STEM.md")
    return parser


if __name__ == "__main__":
    main()
