"""Where a run computes, and how long its epochs are."""

import pytest
import torch

from pal_plugin.training.components import train_datasets
from pal_plugin.utils.errors import ConfigError

from .test_run import make_run


def test_device_auto_is_cuda_where_there_is_one(toy, monkeypatch):
    run = make_run(toy.config())
    assert run.place.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"run\.device is cuda"):
        make_run(toy.config("run.device=cuda"))


def test_steps_are_one_pass_unless_given(toy):
    assert make_run(toy.config()).training.steps_per_epoch == 3  # 12 clips in batches of 4
    assert make_run(toy.config("run.steps_per_epoch=7")).training.steps_per_epoch == 7


def test_a_dataset_in_several_train_splits_is_listed_by_split(toy):
    splits = {"train": {"a": 1, "b": 2}, "extra": {"a": 3}, "val": {"a": 4}}
    assert train_datasets(toy.config(), splits) == {"a": 1, "b": 2}
    both = toy.config("run.train_splits=[train,extra]")
    assert train_datasets(both, splits) == {"a.train": 1, "b.train": 2, "a.extra": 3}
