"""Loaders: endless seeded passes, mixing by weight, steps of an epoch."""

from collections import Counter
from itertools import islice

import pytest
from torch.utils.data import Dataset, IterableDataset

from pal_plugin.errors import ConfigError
from pal_plugin.runners.loaders import (
    MixedLoader,
    PassSampler,
    build_loader,
    mixing_weights,
    steps_per_epoch,
)


class Numbers(Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index

    def collater(self, items):
        return list(items)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(range(10**9))


def load(dataset, **changes):
    arguments = {"batch_size": 4, "num_workers": 0, "train": True, "seed": 0, "pin_memory": False}
    return build_loader(dataset, **{**arguments, **changes})


def test_every_pass_holds_every_index_in_another_order():
    drawn = list(islice(PassSampler(5, seed=1), 15))
    passes = [drawn[:5], drawn[5:10], drawn[10:]]
    assert [sorted(p) for p in passes] == [list(range(i * 5, i * 5 + 5)) for i in range(3)]
    assert len({tuple(i % 5 for i in p) for p in passes}) > 1
    assert drawn == list(islice(PassSampler(5, seed=1), 15))
    assert drawn != list(islice(PassSampler(5, seed=2), 15))


def test_training_does_not_end_even_with_fewer_clips_than_a_batch():
    batches = list(islice(iter(load(Numbers(3))), 3))
    assert [len(b) for b in batches] == [4, 4, 4]
    assert Counter(i for b in batches for i in b) == {0: 4, 1: 4, 2: 4}


def test_evaluation_is_one_pass_in_order_by_the_datasets_collater():
    assert list(load(Numbers(5), train=False, batch_size=2)) == [[0, 1], [2, 3], [4]]


def test_mixing_follows_the_weights_and_restarts_what_ends():
    loaders = {"a": load(Numbers(2), train=False), "b": load(Endless())}
    drawn = list(islice(MixedLoader(loaders, {"a": 1.0, "b": 3.0}, seed=0), 400))
    share = sum(isinstance(batch, list) for batch in drawn) / 400
    assert 0.18 < share < 0.32


def test_weights_are_sizes_unless_given():
    datasets = {"a": Numbers(30), "b": Numbers(10)}
    assert mixing_weights(datasets, None) == {"a": 30.0, "b": 10.0}
    assert mixing_weights(datasets, {"a": 1, "b": 2}) == {"a": 1.0, "b": 2.0}
    assert mixing_weights({"a": Numbers(3), "b": Endless()}, None) == {"a": 1.0, "b": 1.0}
    with pytest.raises(ConfigError, match="each of a, b"):
        mixing_weights(datasets, {"a": 1})


def test_an_epoch_is_one_pass_or_what_was_asked():
    assert steps_per_epoch({"a": Numbers(9), "b": Numbers(2)}, 4, None) == 3
    assert steps_per_epoch({"a": Endless()}, 4, 12) == 12
    with pytest.raises(ConfigError, match=r"run\.steps_per_epoch"):
        steps_per_epoch({"a": Endless()}, 4, None)
    with pytest.raises(ConfigError, match="1 or more"):
        steps_per_epoch({"a": Numbers(9)}, 4, 0)
