"""The training loop's own promises: skipped clips are counted, only bad ones are an error."""

import logging
import time
from itertools import cycle

import pytest
import torch

import pal_plugin  # noqa: F401  (registers)
from pal_plugin.errors import ConfigError
from pal_plugin.runners.loop import Precision, to_device, train_epoch
from pal_plugin.runners.schedule import WarmupCosine


class LossTask:
    def train_step(self, model, samples):
        return model(torch.ones(1, 2)).sum() * samples["factor"], {"extra": 1}  # LAVIS allows both


def train(batches, steps=2, source=None, **changes):
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.weight.detach().clone()
    stats = train_epoch(
        task=LossTask(),
        model=model,
        batches=source or cycle(batches),
        steps=steps,
        epoch=0,
        optimizer=optimizer,
        schedule=WarmupCosine(optimizer, 1, steps, init_lr=1.0, min_lr=1.0),
        precision=Precision("none", torch.device("cpu")),
        device=torch.device("cpu"),
        **changes,
    )
    return stats, (model.weight.detach() - before).norm().item()


def batch(rows=1, skipped=(), factor=1.0):
    text = ["q"] * rows
    return {"text_input": text, "num_clips": rows, "skipped": list(skipped), "factor": factor}


def test_skipped_clips_are_counted_by_name_and_empty_batches_passed_over(caplog):
    caplog.set_level(logging.WARNING)
    stats, moved = train([batch(2, ["a.flac (broken)"]), batch(0, ["b.flac (empty)"])], steps=1)
    assert stats.summary()["skipped_clips"] == 1
    stats, moved = train([batch(0, ["b.flac (empty)"]), batch(2)], steps=1)
    assert moved > 0
    assert stats.steps == 1
    assert stats.clips == 2
    assert "1 clips could not be used and were skipped: b.flac (empty)" in caplog.text


def test_nothing_but_broken_clips_is_an_error_instead_of_a_search_forever():
    with pytest.raises(ConfigError, match=r"no usable clip.*x\.flac"):
        train([batch(0, ["x.flac (broken)"])])


def test_gradients_are_clipped_to_the_norm_that_was_asked():
    _, free = train([batch(factor=100.0)], steps=1)
    _, clipped = train([batch(factor=100.0)], steps=1, grad_clip=0.1)
    assert free > 100
    assert clipped <= 0.1 + 1e-6


def test_nested_batches_move_whole():
    moved = to_device({"a": [torch.zeros(1), "text"], "b": {"c": torch.ones(1)}}, "meta")
    assert moved["a"][0].device.type == moved["b"]["c"].device.type == "meta"
    assert moved["a"][1] == "text"


def test_waiting_for_data_is_told():
    lines = []

    def slow():
        while True:
            time.sleep(0.02)
            yield batch(1)

    stats, _ = train([], steps=3, source=slow(), log_freq=1, log=lines.append)
    assert 0.5 < stats.summary()["data_wait"] <= 1
    assert [line["step"] for line in lines] == [0, 1, 2]
    assert all(0 < line["data_wait"] <= 1 for line in lines)
    assert train([batch(1)], steps=3)[0].summary()["data_wait"] < 0.5
