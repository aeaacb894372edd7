"""Messages with their clips decoded, in the order and number in which they were sent."""

import asyncio
import base64

import numpy as np
import pytest
from scripted import InProcess, sent, tone
from servers import serving

from pal_plugin.audio.decoding import decode
from pal_plugin.hosts.server.errors import Refusal
from pal_plugin.hosts.server.messages import Reader
from pal_plugin.hosts.server.schema import ChatRequest
from pal_plugin.hosts.server.settings import Limits, Settings


def read(*contents, urls=(), decoder=None, roles=("user", "assistant"), **limits):
    """What is read of messages by users and assistants in turns, and the seconds of audio."""
    messages = [
        {"role": roles[number % 2], "content": content} for number, content in enumerate(contents)
    ]
    body = ChatRequest.model_validate({"model": "toy", "messages": messages})
    settings = Settings("toy", urls=urls, limits=Limits(**limits))
    reader = Reader(settings, decoder or InProcess())
    return asyncio.run(reader.read(body.messages))


def refused(status, *contents, **how):
    with pytest.raises(Refusal) as caught:
        read(*contents, **how)
    assert caught.value.status_code == status
    return caught.value


def text(words):
    return {"type": "text", "text": words}


def by_url(url):
    return {"type": "audio_url", "audio_url": {"url": url}}


def in_data(data, head="data:audio/wav;base64,"):
    return by_url(head + base64.b64encode(data).decode())


def test_clips_stay_where_they_are():
    one, two = tone(0.1), tone(0.2, form="FLAC")
    read_, seconds = read(
        [text("first"), sent(one), sent(two, "flac")], "an answer", [in_data(two), text("last")]
    )
    kinds = [[part["type"] for part in m["content"]] for m in read_ if m["role"] == "user"]
    assert kinds == [["text", "audio", "audio"], ["audio", "text"]]
    assert read_[1] == {"role": "assistant", "content": "an answer"}
    samples, rate_hz = read_[0]["content"][1]["audio"]
    assert rate_hz == 16000
    assert np.array_equal(samples, decode(one)[0])
    assert seconds == pytest.approx(0.5)


def test_a_clip_that_comes_again_is_decoded_once_and_one_object():
    decoder, data = InProcess(), tone()
    messages, seconds = read([sent(data)], "yes", [sent(data), text("And now?")], decoder=decoder)
    assert len(decoder.clips) == 1
    assert messages[0]["content"][0]["audio"] is messages[2]["content"][0]["audio"]
    assert seconds == pytest.approx(0.1)


def test_developers_are_the_system():
    messages, _ = read("Be brief.", "Hello", roles=("developer", "user"))
    assert [m["role"] for m in messages] == ["system", "user"]


@pytest.mark.parametrize(
    "head", ["data:audio/wav;base64,", "DATA:;BASE64,", "data:a/b;c=d;base64,"]
)
def test_data_uris(head):
    assert read([in_data(tone(), head)])[1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "part",
    [
        sent(b"nix"),
        {"type": "input_audio", "input_audio": {"data": "/etc/hostname", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "a.wav", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "data:,AAAA", "format": "wav"}},
        {"type": "input_audio", "input_audio": {"data": "ä", "format": "wav"}},
        by_url("data:audio/wav,AAAA"),
        by_url("data:audio/wav;base64,AAA"),
        by_url("data:audio/wav;base64,"),
        by_url("/etc/hostname"),
        by_url("file:///etc/hostname"),
        by_url("http://localhost/a.wav"),
    ],
)
def test_what_is_no_clip_is_refused_with_its_place(part):
    refusal = refused(400, [text("What is it?"), part])
    assert "messages.0.content.1" in refusal.detail
    assert refusal.param == "messages.0.content.1"


def test_a_named_host_is_fetched_from():
    with serving() as served:
        served.files["/a.wav"] = tone(0.3)
        part = by_url(f"{served.url}/a.wav")
        host = served.url.removeprefix("http://")
        assert read([part], urls=(host,))[1] == pytest.approx(0.3)
        assert refused(400, [part], urls=("other.example",)).code == "not_fetched"
    assert len(served.asked) == 1


def test_limits():
    assert read([sent(tone(1.0))], max_seconds=1)[1] == 1
    second = refused(413, [sent(tone(0.6)), sent(tone(0.5))], max_seconds=1)
    assert second.param == "messages.0.content.1"
    assert "1.1 s of audio; expected at most 1 s (--max-seconds)" in second.detail
    decoder = InProcess()
    clips = refused(400, [sent(tone())] * 3, max_clips=2, decoder=decoder)
    assert "3 clips; expected at most 2 (--max-clips)" in clips.detail
    texts = refused(400, [text("ab"), text("cd")], "ef", max_text=5, decoder=decoder)
    assert "6 characters of text; expected at most 5 (--max-text)" in texts.detail
    assert decoder.clips == []
