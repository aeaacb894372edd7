"""Spoken sentences, words and digits with transcripts, by speech synthesis.

`sentences` and `vocabulary` provide the texts, `draw_clip` draws a clip's parameters, `render`
computes its audio, `ensure_shards` writes WebDataset shards. The voices are synthetic.
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
