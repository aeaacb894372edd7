"""The sound world: seeded synthetic scenes with labels, a controllable audio benchmark.

`sample_scene` draws a scene, `render` synthesizes it, `items` derives questions with answers,
`text_corpus` describes scenes as text, `ensure_shards` writes WebDataset shards. A scene is plain
data from which everything else follows, so all answers are correct by construction.
"""

from pal_plugin.soundworld.corpus import text_corpus
from pal_plugin.soundworld.events import (
    LABELS,
    SAMPLE_RATE_HZ,
    Event,
    Scene,
    Sound,
    Speaker,
    Word,
)
from pal_plugin.soundworld.questions import QUESTION_TYPES, items
from pal_plugin.soundworld.render import render, render_stems
from pal_plugin.soundworld.scene import sample_scene
from pal_plugin.soundworld.seeds import split_scene
from pal_plugin.soundworld.shards import ensure_shards
from pal_plugin.soundworld.speech import LEXICON
from pal_plugin.soundworld.words import captions, describe

__all__ = [
    "LABELS",
    "LEXICON",
    "QUESTION_TYPES",
    "SAMPLE_RATE_HZ",
    "Event",
    "Scene",
    "Sound",
    "Speaker",
    "Word",
    "captions",
    "describe",
    "ensure_shards",
    "items",
    "render",
    "render_stems",
    "sample_scene",
    "split_scene",
    "text_corpus",
]
