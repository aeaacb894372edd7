"""Losses and times of a log, whole or not."""

import json

import pytest


@pytest.fixture
def log(module):
    return module("evidence.log")


def test_a_log_that_is_being_written(log, tmp_path):
    lines = [
        {"kind": "train_step", "global_step": 1, "recent_loss": None, "seconds": 1.5},
        {"kind": "train_step", "global_step": 2, "recent_loss": 4.0, "seconds": 3.0},
        {"kind": "val", "epoch": 0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "log.txt").write_text(text + '{"kind": "train_st')
    assert log.curve(tmp_path) == {2: 4.0}
    assert log.seconds_trained(tmp_path) == 3.0


def test_no_log(log, tmp_path):
    assert log.curve(tmp_path) == {}
    assert log.seconds_trained(tmp_path) is None
