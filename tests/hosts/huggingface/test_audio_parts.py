"""Every form of a clip in a message, and nothing that is fetched."""

import base64

import numpy as np
import pytest

from pal_plugin.hosts.huggingface.audio_parts import clip_of, is_one_conversation, read_parts

DATA = b"RIFF"
TEXT = base64.b64encode(DATA).decode()
ARRAY = np.zeros(8, np.float32)


def clip(part, **kwargs):
    ((message,),) = (read_parts([{"role": "user", "content": [part]}], **kwargs),)
    (found,) = message["content"]
    assert found["type"] == "audio"
    return found["audio"]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "audio", "audio": "dog.wav"}, "dog.wav"),
        ({"type": "audio", "path": "dog.wav"}, "dog.wav"),
        ({"type": "audio", "audio": DATA}, DATA),
        ({"type": "audio", "base64": TEXT}, DATA),
        ({"type": "audio", "url": f"data:audio/wav;base64,{TEXT}"}, DATA),
        ({"type": "audio", "audio": f"data:audio/wav;base64,{TEXT}"}, DATA),
        ({"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{TEXT}"}}, DATA),
        ({"type": "input_audio", "input_audio": {"data": TEXT, "format": "wav"}}, DATA),
        ({"type": "audio", "audio": "dog.wav", "path": None, "text": None}, "dog.wav"),
    ],
)
def test_each_form_becomes_what_load_audio_reads(part, expected):
    assert clip(part) == expected


def test_arrays_come_with_their_rate():
    given = {"array": ARRAY, "sampling_rate": 16_000}
    assert clip({"type": "audio", "audio": given}) is given
    assert clip({"type": "audio", "audio": (ARRAY, 8_000)}) == (ARRAY, 8_000)
    assert clip({"type": "audio", "audio": ARRAY}, sampling_rate=8_000) == (ARRAY, 8_000)
    with pytest.raises(ValueError, match="array without its rate"):
        clip({"type": "audio", "audio": ARRAY})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "audio", "audio": "https://example.org/a.wav"},
        {"type": "audio", "url": "file:///etc/passwd"},
        {"type": "audio_url", "audio_url": {"url": "dog.wav"}},
        {"type": "input_audio", "input_audio": {"data": "/etc/passwd", "format": "wav"}},
        {"type": "input_audio", "input_audio": "dog.wav"},
        {"type": "audio", "audio": "data:audio/wav,RIFF"},
        {"type": "audio"},
        {"type": "audio", "audio": "a.wav", "path": "b.wav"},
    ],
)
def test_an_address_a_disguised_path_or_no_clip_is_an_error(part):
    with pytest.raises(ValueError, match=r"messages\[0\]\.content\[0\]"):
        clip(part)


def test_other_parts_and_plain_texts_stay():
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}]}, {"role": "x"}, 3]
    assert read_parts(messages) == messages
    assert clip_of("a.wav", "audio") == "a.wav"


def test_one_conversation_or_several():
    assert is_one_conversation([{"role": "user", "content": "?"}])
    assert not is_one_conversation([[{"role": "user", "content": "?"}]])
    with pytest.raises(ValueError, match="list of messages"):
        is_one_conversation("?")
