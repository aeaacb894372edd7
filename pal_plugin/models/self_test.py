"""An end-to-end test of a second, from file to answer: the shipped model on synthetic clips."""

from __future__ import annotations

import io
from dataclasses import dataclass

import soundfile

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.soundworld import SAMPLE_RATE_HZ
from pal_plugin.soundworld.render import render
from pal_plugin.soundworld.seeds import split_scene

MODEL, QUESTION = "lal", "What do you hear?"
#: Test scenes of one sound each, of different kinds, so that a constant answer cannot pass.
SCENES = (0, 1, 3)


@dataclass(frozen=True)
class Heard:
    """The label of a clip, and the model's answer."""

    truth: str
    answer: str

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.answer == self.truth


def self_test(model: AudioLLM | None = None) -> list[Heard]:
    """Answers of the shipped pocket model about synthetic clips.

    Covers the whole path: writes and decodes FLAC, runs encoders, connectors and LLM,
    generates an answer.

    Args:
        model: the model to test; None: the pocket model.
    """
    model = model or AudioLLM.from_pretrained(MODEL)
    heard = []
    for number in SCENES:
        scene, _ = split_scene("test", 0, number)
        file = io.BytesIO()
        soundfile.write(file, render(scene), SAMPLE_RATE_HZ, format="FLAC")
        heard.append(Heard(scene.label, model.ask(file.getvalue(), QUESTION, max_new_tokens=8)))
    return heard
