"""Seeding of scenes.

A scene only depends on (split, seed, index), so neither the number of workers nor the sharding
matters, and splits never share a scene.
"""

from __future__ import annotations

from random import Random

import numpy as np

from pal_plugin.soundworld.events import LABELS, Scene
from pal_plugin.soundworld.scene import sample_scene

SPLITS = ["train", "val", "test"]
_KEYS = {"train": 0, "val": 1, "test": 2, "text": 3, "order": 4, "pretraining": 5}


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
    block, place = divmod(index, len(LABELS))
    labels = list(LABELS)
    order = np.random.SeedSequence(seed, spawn_key=(_KEYS["order"], _KEYS[split], block))
    Random(int(order.generate_state(1)[0])).shuffle(labels)
    rng = scene_rng(split, seed, index)
    return sample_scene(rng, labels[place]), rng
