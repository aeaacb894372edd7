"""The server with a trained model behind it, asked by OpenAI's own client."""

import base64
import socket
import threading
import time

import httpx
import openai
import pytest

from pal_plugin.clips import clip
from pal_plugin.hosts.server.app import build
from pal_plugin.hosts.server.running import listen, make
from pal_plugin.hosts.server.settings import Limits, Settings
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.completion import complete
from pal_plugin.serving.engine import Engine

QUESTION = "What do you hear?"
LIMITS = Limits(max_time=60, max_batch=2, max_waiting=8)


class Served:
    """A server in a thread.

    Attributes:
        model: what answers.
        client: OpenAI's, without retries.
        url: of the server.
    """

    def __init__(self, model, engine, port):
        self.model, self.engine = model, engine
        self.url = f"http://127.0.0.1:{port}"
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def ask(self, messages, **how):
        return self.client.chat.completions.create(model="lal", messages=messages, **how)

    def expected(self, messages, **how):
        """The same from the model itself; clips as paths."""
        return complete(self.model, {"messages": [messages]}, max_new_tokens=8, **how)[0]


@pytest.fixture(scope="module")
def served():
    model = AudioLLM.from_pretrained("lal")
    listener = listen("127.0.0.1", 0)
    with Engine(model, max_batch=LIMITS.max_batch, max_waiting=LIMITS.max_waiting) as engine:
        app = build(engine, Settings("lal", limits=LIMITS))
        server = make(app, stopping_s=10)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        found = Served(model, engine, listener.getsockname()[1])
        until(lambda: app.state.server.now == "ready")
        yield found
        server.should_exit = True
        thread.join()


def until(is_so):
    """Wait for it; only a failure waits long."""
    ended = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < ended
        time.sleep(0.005)


def heard(name, question=QUESTION, sends=True):
    """A user's message about a clip of the package: as it is sent, or with the clip's path."""
    part = {"type": "audio", "audio": str(clip(name))}
    if sends:
        data = base64.b64encode(clip(name).read_bytes()).decode()
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "ogg"}}
    return {"role": "user", "content": [part, {"type": "text", "text": question}]}


def test_an_answer_is_the_models(served):
    answer = served.ask([heard("dog")], max_tokens=8, logprobs=True)
    wanted = served.expected([heard("dog", sends=False)], logprobs=True)
    assert answer.choices[0].message.content == wanted.text
    assert answer.choices[0].finish_reason == wanted.finish_reason
    scores = answer.choices[0].logprobs.content
    assert [s.logprob for s in scores] == pytest.approx(wanted.logprobs, abs=1e-4)
    usage = answer.usage
    assert usage.prompt_tokens_details.audio_tokens == wanted.audio_tokens > 0
    assert usage.prompt_tokens == wanted.prompt_tokens + wanted.audio_tokens
    assert usage.completion_tokens == wanted.completion_tokens


def test_a_stream_ends_as_the_whole_answer(served):
    whole = served.ask([heard("rooster")], max_tokens=8)
    chunks = list(
        served.ask(
            [heard("rooster")], max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
    )
    said = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    assert "".join(said) == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_several_clips_and_turns(served):
    def talk(sends):
        first = heard("rain", sends=sends)
        first["content"] += heard("violin", "And this?", sends)["content"]
        return [
            first,
            {"role": "assistant", "content": "rain"},
            heard("dog", sends=sends),
        ]

    wanted = served.expected(talk(False))
    answer = served.ask(talk(True), max_tokens=8)
    assert answer.choices[0].message.content == wanted.text
    assert answer.usage.prompt_tokens_details.audio_tokens == wanted.audio_tokens
    said = answer.choices[0].message
    again = served.ask([*talk(True), said, {"role": "user", "content": "Why?"}], max_tokens=2)
    assert again.choices[0].finish_reason in ("length", "stop")


def test_audio_alone_and_text_alone(served):
    alone = {"role": "user", "content": heard("dog")["content"][:1]}
    path = {"role": "user", "content": heard("dog", sends=False)["content"][:1]}
    answer = served.ask([alone], max_tokens=8)
    assert answer.choices[0].message.content == served.expected([path]).text
    text = [{"role": "user", "content": "How many?"}]
    answer = served.ask(text, max_tokens=8)
    assert answer.choices[0].message.content == served.expected(text).text
    assert answer.usage.prompt_tokens_details.audio_tokens == 0


def test_a_transcript_asks_the_models_question(served):
    answer = served.client.audio.transcriptions.create(model="lal", file=clip("dog"))
    wanted = served.expected([heard("dog", "What is said?", sends=False)])
    assert answer.text == wanted.text
    assert answer.usage.input_token_details.audio_tokens == wanted.audio_tokens


def test_seeded_samples_come_again(served):
    def sample(**how):
        answer = served.ask([heard("dog")], n=2, temperature=1.0, max_tokens=4, **how)
        return [choice.message.content for choice in answer.choices]

    first = sample(seed=3)
    assert sample(seed=3) == first
    assert sample(seed=4)[0] == first[1]  # choice i has seed + i


def test_errors_reach_the_client(served):
    with pytest.raises(openai.BadRequestError, match="foo is not supported"):
        served.ask([heard("dog")], extra_body={"foo": 1})
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        served.client.models.retrieve("gpt")
    with pytest.raises(openai.BadRequestError, match="expected 'assistant'"):
        served.ask([heard("dog"), heard("dog")])
    with pytest.raises(openai.BadRequestError, match="context"):
        served.ask([heard("dog", "word " * 5000)])
    assert [model.id for model in served.client.models.list()] == ["lal"]


def test_clients_that_leave_free_their_places(served):
    """More of them than are answered at a time, while one answer is being generated."""
    before, held, goes_on = served.engine.stats(), threading.Event(), threading.Event()

    def hold():
        held.set()
        goes_on.wait(60)

    body = {"model": "lal", "messages": [heard("dog")], "max_tokens": 64, "temperature": 2.0}
    url = f"{served.url}/v1/chat/completions"
    with httpx.stream("POST", url, json={**body, "stream": True}, timeout=60) as runs:
        next(runs.iter_bytes())
        holding = threading.Thread(target=served.engine.call, args=(hold,))
        holding.start()
        held.wait()
        clients = [asked(url, {**body, "stream": number % 2 == 0}) for number in range(6)]
        until(lambda: served.engine.stats()["waiting"] == 6)
        for client in clients:
            client.close()
    gone = 'pal_requests_total{path="/v1/chat/completions",status="499"} 6.0'
    until(lambda: gone in httpx.get(f"{served.url}/metrics").text)
    goes_on.set()
    holding.join()
    until(lambda: not served.engine.stats()["running"] + served.engine.stats()["waiting"])
    after = served.engine.stats()
    left, answered = (after[name] - before[name] for name in ("cancelled", "answered"))
    assert left >= 6
    assert left + answered == 7
    assert served.ask([heard("dog")], max_tokens=2).choices


def asked(url, body):
    """A connection on which a question has been sent."""
    request = httpx.Request("POST", url, json=body)
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    connection = socket.create_connection((request.url.host, request.url.port))
    connection.sendall(f"POST {request.url.path} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
    return connection


def test_the_engines_figures_are_served(served):
    served.ask([heard("dog")], max_tokens=2)
    figures = httpx.get(f"{served.url}/metrics").text
    assert "pal_engine_answered_total" in figures
    assert 'pal_requests_total{path="/v1/chat/completions",status="200"}' in figures
