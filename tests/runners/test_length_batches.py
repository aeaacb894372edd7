"""Batches of like length: nothing lost, little padding, and no change where lengths are equal."""

import random
from collections import Counter
from itertools import islice

import pytest
import torch
from torch.utils.data import Dataset, IterableDataset

from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.runners.length_batches import arranged, length_of
from pal_plugin.runners.loaders import build_loader


def clip(number, windows):
    frames = torch.ones(windows, dtype=torch.long)
    return {"audio": {"a": {"frames": frames, "features": frames}}, "number": number}


class Clips(Dataset):
    def __init__(self, windows):
        self.windows = windows

    def __len__(self):
        return len(self.windows)

    def __getitem__(self, index):
        return clip(index, self.windows[index])

    def collater(self, clips):
        return [(c["number"], int(length_of(c))) for c in clips]


class Stream(IterableDataset):
    def __init__(self, windows):
        self.windows = windows

    def __iter__(self):
        return (clip(i, w) for i, w in enumerate(self.windows))

    collater = Clips.collater


def load(dataset, pool, workers=0, batch_size=4):
    return build_loader(
        dataset,
        batch_size,
        workers,
        train=True,
        seed=0,
        pin_memory=False,
        length_pool=pool,
    )


def padding(batches):
    held = sum(len(b) * max(w for _, w in b) for b in batches)
    return 1 - sum(w for b in batches for _, w in b) / held


def mixed(count):
    """Speech of one window among recordings of two and three (10 s windows, 15 to 30 s clips)."""
    rng = random.Random(0)
    return [rng.choice([1, 2, 3, 3]) for _ in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_passes_of_a_folder_stay_whole_and_padding_shrinks(workers):
    windows = mixed(64)
    plain = list(islice(load(Clips(windows), 1, workers), 48))
    sorted_ = list(islice(load(Clips(windows), 8, workers), 48))
    # Whole passes: 16 batches each, though some of a pass may wait in a pool.
    seen = Counter(n for b in islice(load(Clips(windows), 8, 0), 15) for n, _ in b)
    assert max(seen.values()) <= 2
    assert padding(plain) > 0.2
    assert padding(sorted_) < padding(plain) / 2
    assert sorted_ == list(islice(load(Clips(windows), 8, workers), 48))


def test_a_stream_loses_nothing():
    batches = list(load(Stream(mixed(50)), 4))
    assert sorted(n for b in batches for n, _ in b) == list(range(50))
    assert all(len(b) in (1, 2, 3, 4) for b in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_equal_lengths_keep_their_order(workers):
    plain = list(islice(load(Clips([1] * 20), 1, workers), 12))
    assert list(islice(load(Clips([1] * 20), 8, workers), 12)) == plain
    assert list(load(Stream([2] * 18), 8)) == list(load(Stream([2] * 18), 1))


def test_the_batch_that_is_not_full_comes_last_and_skipped_clips_travel_along():
    clips = [clip(i, w) for i, w in enumerate([3, 1, 3, 1, 2])] + [SkippedClip("x", "broken")]
    batches = arranged(clips, 4, length_of, random.Random(0))
    assert [len(b) for b in batches] == [4, 2]
    assert sum(isinstance(c, SkippedClip) for b in batches for c in b) == 1
    assert length_of({"audio": torch.zeros(3)}) == 0
