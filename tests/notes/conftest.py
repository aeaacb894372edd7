"""A synthesiser that needs neither its package nor a soundfont."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest


class Synth:
    """Of tinysoundfont: a tone of 440 Hz as loud as the keys that are down."""

    def __init__(self, samplerate, gain):
        self.down, self.calls, self.frames, self.phase = {}, [], 0, 0

    def sfload(self, path):
        if not Path(path).read_bytes().startswith(b"RIFF"):
            raise RuntimeError("no RIFF")
        return 7

    def program_select(self, *arguments):
        self.calls.append(arguments)

    def noteon(self, channel, key, velocity):
        self.calls.append(("on", channel, key, velocity, self.frames))
        self.down[key], self.phase = velocity / 127, 0

    def noteoff(self, channel, key):
        self.calls.append(("off", channel, key, self.frames))
        self.down.pop(key, None)

    def sounds_off(self, channel):
        self.down.clear()

    def generate(self, frames):
        turns = (self.phase + np.arange(frames)) * 2 * np.pi * 440 / 48000
        self.frames, self.phase = self.frames + frames, self.phase + frames
        sound = np.float32(sum(self.down.values())) * np.sin(turns).astype(np.float32)
        return memoryview(np.repeat(sound, 2).tobytes())


@pytest.fixture
def synthesiser(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinysoundfont", types.SimpleNamespace(Synth=Synth))


@pytest.fixture
def soundfont(tmp_path):
    path = tmp_path / "small.sf2"
    path.write_bytes(b"RIFF....sfbk")
    return path
