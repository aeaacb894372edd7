"""Seeding of scenes.

A scene only depends on (split, seed, index), so neither the number of workers nor the sharding
matters, and splits never share a scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import TypeVar

import numpy as np

from pal_plugin.soundworld.events import LABELS, Scene
from pal_plugin.soundworld.scene import sample_scene

SPLITS = ["train", "val", "test"]
_STREAMS = ("train", "val", "test", "text", "order", "pretraining")
_STREAMS += ("talks_train", "talks_val", "talks_test")
_KEYS = {stream: key for key, stream in enumerate(_STREAMS)}
_Card = TypeVar("_Card")


def scene_rng(stream: str, seed: int, index: int) -> Random:
    """The random generator of one scene of a stream (a split, or "text")."""
    state = np.random.SeedSequence(seed, spawn_key=(_KEYS[stream], index)).generate_state(4)
    return Random(int.from_bytes(state.tobytes(), "little"))


def split_scene(split: str, seed: int, index: int) -> tuple[Scene, Random]:
    """Scene `index` of a split, and the generator for its wording.

    Labels are dealt in shuffled blocks of twelve, so that any run of clips is balanced.

    Raises:
        ValueError: for an unknown split or a negative index.
    """
    if split not in SPLITS or index < 0:
        raise ValueError(f"expected a split of {SPLITS} and an index >= 0, got {split!r}, {index}")
    rng = scene_rng(split, seed, index)
    return sample_scene(rng, dealt(LABELS, split, seed, index)), rng


def dealt(cards: Sequence[_Card], stream: str, seed: int, index: int, *more: int) -> _Card:
    """Card `index` of shuffled packs of all `cards`, so that any run of indices is balanced.

    Args:
        more: numbers of one of several independent deals of a stream.
    """
    pack, place = divmod(index, len(cards))
    order = np.random.SeedSequence(seed, spawn_key=(_KEYS["order"], _KEYS[stream], *more, pack))
    shuffled = list(cards)
    Random(int(order.generate_state(1)[0])).shuffle(shuffled)
    return shuffled[place]
