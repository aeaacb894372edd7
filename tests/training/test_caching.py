"""Runs with kept encoder states: the same training, and the second one encodes nothing."""

import json
import logging

import cli
import pytest


def losses(tmp_path, name):
    lines = (tmp_path / "output" / name / "log.txt").read_text().splitlines()
    steps = [line for line in map(json.loads, lines) if "batch_loss" in json.dumps(line)]
    return [json.dumps(line["batch_loss"]) for line in steps]


def train(path, name):
    assert cli.train(["--cfg-path", path, "--job-id", name]) == 0


def test_a_run_fills_the_cache_and_the_next_one_encodes_nothing(recipe, filled, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    train(recipe("plain", cache="null"), "plain")
    assert not filled
    assert not (tmp_path / "cache").exists()
    train(recipe("kept"), "first")
    assert "this run has 6 clips (variants included), up to" in caplog.text
    # Of two epochs and evaluations, the first of each.
    assert len(filled) == 3 * (2 + 1)
    filled.clear()
    train(recipe("kept", workers=1), "second")
    assert not filled
    plain, first, second = (losses(tmp_path, name) for name in ("plain", "first", "second"))
    assert len(plain) == 4
    assert first[:2] == plain[:2]  # as long as batches are composed as they were encoded
    for other in (first, second):
        assert list(map(float, other)) == pytest.approx(list(map(float, plain)), rel=1e-4)
