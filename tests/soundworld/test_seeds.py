"""Scenes of the splits: balanced, and each from its seed alone."""

from collections import Counter

from pal_plugin.soundworld import LABELS, split_scene


def test_labels_of_a_split_are_balanced_in_every_block():
    for split in ("train", "val"):
        labels = Counter(split_scene(split, 7, index)[0].label for index in range(60))
        assert labels == dict.fromkeys(LABELS, 5)


def test_a_scene_depends_on_split_seed_and_index_alone():
    again = [split_scene("train", 3, index)[0] for index in (5, 2, 5)]
    assert again[0] == again[2] == split_scene("train", 3, 5)[0]
    seeds = {
        split_scene(split, seed, index)[0].seed
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for index in range(50)
    }
    assert len(seeds) == 300
