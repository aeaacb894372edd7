"""A test of the whole way from a file to an answer, of a second: the shipped model, made clips."""

from __future__ import annotations

import io
from dataclasses import dataclass

import soundfile

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.soundworld import SAMPLE_RATE_HZ
from pal_plugin.soundworld.render import render
from pal_plugin.soundworld.seeds import split_scene

MODEL, QUESTION = "lal", "What do you hear?"
#: Test scenes of one sound each, of other kinds: a model that always says the same cannot pass.
SCENES = (0, 1, 3)


@dataclass(frozen=True)
class Heard:
    """What sounds in a clip, and what the model says."""

    truth: str
    answer: str

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.answer == self.truth


def self_test(model: AudioLLM | None = None) -> list[Heard]:
    """Answers of the shipped pocket model about clips that are made here.

    Each goes the way of a user's: FLAC is written and decoded, encoders, connectors and LLM run, an
    answer is generated.

    Args:
        model: another one that is to be tested.
    """
    model = model or AudioLLM.from_pretrained(MODEL)
    heard = []
    for number in SCENES:
        scene, _ = split_scene("test", 0, number)
        file = io.BytesIO()
        soundfile.write(file, render(scene), SAMPLE_RATE_HZ, format="FLAC")
        heard.append(Heard(scene.label, model.ask(file.getvalue(), QUESTION, max_new_tokens=8)))
    return heard
