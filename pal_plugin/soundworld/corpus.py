"""Text for pretraining the LLM: descriptions of scenes, with questions and answers.

The description takes the place of the audio, so an LLM pretrained on this text knows the tasks and
only has to learn to read the evidence from audio tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from pal_plugin.llm.pocket_chat import prompt, target
from pal_plugin.soundworld.questions import compared_events, items
from pal_plugin.soundworld.scene import sample_scene
from pal_plugin.soundworld.seeds import scene_rng
from pal_plugin.soundworld.words import describe

NO_EVIDENCE = 0.1  # fraction of texts without a description, as for inaudible audio


def text_example(rng: Random) -> str:
    """One text: a description and two to four questions with answers."""
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
    """Endless texts in the format of `pal_plugin.llm.pocket_chat`, determined by the seed.

    Scenes have their own seed sequence: none is in the train, val or test shards.
    """
    rng = scene_rng("text", seed, 0)
    while True:
        yield text_example(rng)
