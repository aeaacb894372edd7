"""Loaders: mixing weights, steps of an epoch, and what is told about streams."""

import logging

import pytest
from torch.utils.data import Dataset, IterableDataset

from pal_plugin.training.loaders import (
    mixing_weights,
    steps_per_epoch,
    warn_of_few_shards,
    warn_of_shared_streams,
)
from pal_plugin.utils.errors import ConfigError


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


def test_weights_are_sizes_unless_given():
    datasets = {"a": Numbers(30), "b": Numbers(10)}
    assert mixing_weights(datasets, None) == {"a": 30.0, "b": 10.0}
    assert mixing_weights(datasets, {"a": 1, "b": 2}) == {"a": 1.0, "b": 2.0}
    assert mixing_weights(datasets, {"a": 1, "b": 2, "c": None}) == {"a": 1.0, "b": 2.0}
    assert mixing_weights({"a": Numbers(3), "b": Endless()}, None) == {"a": 1.0, "b": 1.0}
    with pytest.raises(ConfigError, match="each of a, b"):
        mixing_weights(datasets, {"a": 1})


def test_an_epoch_is_one_pass_or_what_was_asked():
    assert steps_per_epoch({"a": Numbers(9), "b": Numbers(2)}, 4, None) == 3
    assert steps_per_epoch({"a": Endless()}, 4, 12) == 12
    with pytest.raises(ConfigError, match=r"run\.steps_per_epoch"):
        steps_per_epoch({"a": Endless()}, 4, None)


def test_datasets_of_fewer_shards_than_streams_are_named(caplog):
    few, enough, plain = (type("D", (), {"shards": ["x"] * n})() for n in (3, 4, 0))
    warn_of_few_shards({"few": few, "enough": enough, "plain": plain, "numbers": Numbers(3)}, 4)
    (record,) = caplog.records
    assert "few has 3 shards, fewer than run.shard_streams=4" in record.getMessage()


def test_readers_that_share_streams_are_told_what_to_set(caplog):
    caplog.set_level(logging.WARNING)
    for fitting in ((4, 2, 2), (1, 0, 1), (1, 1, 1), (6, 3, 1)):
        warn_of_shared_streams(*fitting)
    assert not caplog.text
    warn_of_shared_streams(1, 2, 4)
    assert "make run.shard_streams a multiple of 8" in caplog.text
