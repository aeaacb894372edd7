"""Text for pretraining the LLM: scenes told in words, then asked about.

The description stands where the audio will stand later, so an LLM trained on this text knows what
every question asks and only has to learn to take the evidence from audio tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from pal_plugin.llm.pocket_chat import prompt, target
from pal_plugin.soundworld.questions import compared_events, items
from pal_plugin.soundworld.scene import sample_scene
from pal_plugin.soundworld.seeds import scene_rng
from pal_plugin.soundworld.words import describe

NO_EVIDENCE = 0.1  # share of texts without a description: what to answer when nothing is heard


def text_example(rng: Random) -> str:
    """One text: a description and two to four questions with their answers."""
    scene = sample_scene(rng)
    asked = items(scene, rng)
    asked = rng.sample(asked, min(len(asked), rng.randint(2, 4)))
    types = {item["question_type"] for item in asked}
    if rng.random() < NO_EVIDENCE:
        text = ""
    else:
        compared = compared_events(scene) if "higher" in types else ()
        text = describe(scene, rng, types, compared)
    return text + "".join(prompt(item["question"]) + target(item["answer"]) for item in asked)


def text_corpus(seed: int) -> Iterator[str]:
    """Endless texts in the form of `pal_plugin.llm.pocket_chat`; the same seed, the same texts.

    The scenes come from a seed sequence of their own: none is a clip of the train, val or test
    shards.
    """
    rng = scene_rng("text", seed, 0)
    while True:
        yield text_example(rng)
