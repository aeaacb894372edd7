"""Speech in a process of its own."""

import sys

import numpy as np
import pytest

from pal_plugin.spoken import synthesis
from pal_plugin.spoken.synthesis import Utterance, speak
from pal_plugin.utils.errors import ConfigError

FIVE = [
    Utterance(text, voice, words, 50, 50)
    for text, voice, words in (
        ("we don't know him", "en-us+Alex", 170),
        ("seven", "en-us+f2", 170),
        ("we don't know him", "en+Alex", 170),
        ("we don't know him", "en-us+f2", 170),
        ("we don't know him", "en-us+f2", 110),
    )
]


def test_two_fresh_processes_say_the_same_bytes():
    first, rate_hz = speak(FIVE)
    second, _ = speak(FIVE)
    assert rate_hz == 22050
    assert [a.tobytes() for a in first] == [b.tobytes() for b in second]


def test_text_voice_and_speed_are_heard():
    said, rate_hz = speak(FIVE)
    alex, seven, british, woman, slow = said
    assert all(np.abs(one.astype(int)).max() > 3000 for one in said)
    assert len(seven) < len(alex)
    assert alex.tobytes() != british.tobytes()
    assert 1.2 < len(slow) / len(woman) < 2.0
    assert 0.5 < len(alex) / rate_hz < 2.0


def test_an_unknown_voice_is_an_error():
    with pytest.raises(RuntimeError, match=r"no voice 'en-xx\+Alex'"):
        speak([Utterance("yes", "en-xx+Alex", 170, 50, 50)])


def test_a_missing_synthesiser_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(synthesis.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install espeakng-loader"):
        speak(FIVE)
