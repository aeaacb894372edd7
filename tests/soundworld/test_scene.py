"""What the sampler promises about every scene."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from pal_plugin.soundworld import LABELS, sample_scene, split_scene
from pal_plugin.soundworld.scene import COUNTABLE, DOMINANCE_DB, MAX_SECONDS, MIN_SECONDS

SCENES = [sample_scene(Random(seed)) for seed in range(3000)]


def test_scenes_keep_within_their_length():
    for scene in SCENES:
        assert MIN_SECONDS <= scene.seconds <= MAX_SECONDS
        for event in scene.events:
            assert event.onset_s >= 0.0
            assert event.offset_s <= scene.seconds + 1e-9


def test_one_kind_is_dominant_and_is_the_label():
    for scene in SCENES:
        (dominant,) = (event for event in scene.events if event.kind == scene.label)
        for other in scene.events:
            if other is not dominant:
                assert dominant.level_db - other.level_db >= DOMINANCE_DB
                assert dominant.duration_s >= other.duration_s


def test_composition_is_half_alone_half_mixed():
    sizes = Counter(len(scene.events) for scene in SCENES)
    assert set(sizes) == {1, 2, 3}
    assert 0.45 < sizes[1] / len(SCENES) < 0.55
    assert min(sizes[2], sizes[3]) > 0.15 * len(SCENES)
    for scene in SCENES:
        kinds = [event.kind for event in scene.events]
        assert len(set(kinds)) == len(kinds)
        assert (scene.layout == "alone") == (len(kinds) == 1)


def test_layouts_are_what_they_say():
    overlaps = 0
    for scene in SCENES:
        pairs = list(pairwise(scene.events))
        assert all(a.onset_s <= b.onset_s for a, b in pairs)
        if scene.layout == "sequence":
            assert all(b.onset_s >= a.offset_s for a, b in pairs)
        overlaps += any(b.onset_s < a.offset_s for a, b in pairs)
    assert overlaps > 0.15 * len(SCENES)


def test_repeats_are_separate_and_only_of_countable_kinds():
    counts = Counter()
    for scene in SCENES:
        for event in scene.events:
            counts[event.count] += 1
            assert event.count == 1 or event.kind in COUNTABLE
            for a, b in pairwise(event.sounds):
                assert b.onset_s - a.offset_s >= 0.1
    assert set(counts) == {1, 2, 3, 4, 5}


def test_the_wanted_label_is_given():
    assert all(sample_scene(Random(1), label).label == label for label in LABELS)


def test_wrong_arguments_are_told():
    with pytest.raises(TypeError, match=r"random\.Random"):
        sample_scene(3)
    with pytest.raises(ValueError, match=r"unknown kind 'trumpet'.*tone, sweep"):
        sample_scene(Random(0), "trumpet")
    with pytest.raises(ValueError, match="expected a split"):
        split_scene("training", 0, 0)
