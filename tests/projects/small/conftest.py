"""The scripts as modules, a few clips, and what they are asked."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

SMALL = Path(__file__).parents[3] / "projects" / "pal" / "small"
NAMES = [path.stem for path in SMALL.glob("*.py")]


@pytest.fixture
def script(monkeypatch):
    """Import a script of projects/pal/small by name, as one that is run finds its neighbours."""
    monkeypatch.syspath_prepend(str(SMALL))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def pitches(script, tmp_path):
    """A domain of low and high tones, four clips each to fit to and two each to be asked about."""
    asked = script("asked")
    clips = {"train": [], "val": []}
    for label, pitch_hz in (("low", 200.0), ("high", 2000.0)):
        for number in range(6):
            path = tmp_path / f"{label}{number}.wav"
            times = np.arange(8000) / 16000
            soundfile.write(path, 0.1 * np.sin(6.28 * (pitch_hz + 10 * number) * times), 16000)
            split = "train" if number < 4 else "val"
            clips[split].append(asked.LabelledClip(path, label))
    return asked.Domain("pitch", "Which?", ["high", "low"], **clips)


class Parrot:
    """Stands for the LLM: the candidate that the prompt holds, else the first."""

    def __init__(self):
        self.prompts = []

    def choose(self, prompt, candidates):
        self.prompts.append(prompt)
        return next((c for c in candidates if f" {c}" in prompt), candidates[0])


@pytest.fixture
def parrot():
    return Parrot()
