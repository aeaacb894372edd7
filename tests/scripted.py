"""An engine with the answers written down, and requests to the server in front of it."""

import base64
import io
import threading
from types import SimpleNamespace

import numpy as np
import soundfile
from starlette.testclient import TestClient

from pal_plugin.audio.decoding import decode
from pal_plugin.hosts.server.app import build
from pal_plugin.hosts.server.settings import Limits, Settings
from pal_plugin.models.completion import Completion
from pal_plugin.serving.requests import Busy, Delta, Done, TokenScore


class Ticket:
    def __init__(self):
        self.cancelled = threading.Event()

    def cancel(self):
        self.cancelled.set()


class ScriptedEngine:
    """Says `words` to everyone.

    Attributes:
        asked: the requests.
        tickets: what they were given.
        go: cleared, answers wait after their first word.
        full: whether it refuses; refused: what `submit` raises; fails: what comes instead of words.
    """

    def __init__(self, *words, finish_reason="stop"):
        self.words, self.finish_reason = words or ("a", " bell"), finish_reason
        self.asked, self.tickets, self.threads = [], [], []
        self.go = threading.Event()
        self.go.set()
        self.full, self.refused, self.fails = False, None, None
        self.is_open = True
        self.model = SimpleNamespace(fingerprint=lambda: "0123456789abcdef")

    def submit(self, request, deliver=None):
        if self.full:
            raise Busy("2 requests wait; ask again later")
        if self.refused is not None:
            raise self.refused
        ticket = Ticket()
        self.asked.append(request)
        self.tickets.append(ticket)
        thread = threading.Thread(target=self._answer, args=(request, ticket, deliver), daemon=True)
        thread.start()
        self.threads.append(thread)
        ticket.result = thread.join
        return ticket

    def _answer(self, request, ticket, deliver):
        if deliver is None:
            return
        if self.fails is not None:
            deliver(self.fails)
            return
        scores = [TokenScore(word, -0.5, ((word, -0.5), ("no", -1.0))) for word in self.words]
        kept = [(score,) if request.logprobs else () for score in scores]
        for word, score in zip(self.words, kept, strict=True):
            deliver(Delta(word, score))
            self.go.wait(60)
        end = (TokenScore("<end>", -float("inf")),)
        text = "".join(self.words)
        completion = Completion(text, self.finish_reason, 7, 5, len(self.words) + 1)
        deliver(Done(completion, sum(kept, ()) + end if request.logprobs else (), 3))

    def stats(self):
        return {"running": 0, "waiting": 0, "answered": len(self.asked)}

    def close(self, finish=True):
        pass


class InProcess:
    """A decoder without processes, which keeps what it was given."""

    def __init__(self):
        self.clips = []

    def start(self):
        pass

    def decode(self, data):
        self.clips.append(data)
        return decode(data)[:2]

    def close(self):
        pass


def client_of(
    engine, key=None, urls=(), hosts=None, question="What is said?", decoder=None, **limits
):
    """A client of a server that is ready, with this engine."""
    settings = Settings("toy", key, hosts, urls, question, Limits(**limits))
    app = build(engine, settings, decoder or InProcess())
    app.state.server.now = "ready"
    return TestClient(app, raise_server_exceptions=False)


def tone(seconds=0.1, rate_hz=16000, form="WAV", channels=1):
    """The bytes of a file."""
    file = io.BytesIO()
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    soundfile.write(file, np.stack([samples] * channels, 1), rate_hz, format=form)
    return file.getvalue()


def sent(data, form="wav"):
    """A clip as part of a message."""
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(data).decode(), "format": form},
    }


def chat(content="What is it?", **fields):
    """The body of a request."""
    return {"model": "toy", "messages": [{"role": "user", "content": content}], **fields}


def post(client, body, **how):
    """The answer to a body at `/v1/chat/completions`."""
    return client.post("/v1/chat/completions", json=body, **how)


def error_of(answer, status):
    """The error in an answer, which must have a status and OpenAI's form."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return error
