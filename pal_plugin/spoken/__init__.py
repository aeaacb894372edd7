"""Spoken sentences, words and digits with their transcripts, made by a speech synthesiser.

`sentences` and `vocabulary` are what is said, `draw_clip` decides what a clip is, `render` makes it
sound, `ensure_shards` writes all of it as WebDataset shards. The voices are synthetic.
"""

from pal_plugin.spoken.clips import Clip, draw_clip, items, render
from pal_plugin.spoken.settings import SPLITS, Settings
from pal_plugin.spoken.shards import ensure_shards
from pal_plugin.spoken.texts import sentences, split_of, vocabulary
from pal_plugin.spoken.voices import voices

__all__ = [
    "SPLITS",
    "Clip",
    "Settings",
    "draw_clip",
    "ensure_shards",
    "items",
    "render",
    "sentences",
    "split_of",
    "vocabulary",
    "voices",
]
