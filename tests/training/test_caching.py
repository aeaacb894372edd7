"""Runs with kept encoder states: the same training, and the second one encodes nothing."""

import json
import logging
from types import SimpleNamespace

import cli
import pytest
import torch
from torch import nn

from pal_plugin.encoders.cache_shards import gb
from pal_plugin.models.build import build_encoders, caches_of
from pal_plugin.processors.audio import AudioProcessor
from pal_plugin.training.caching import open_caches
from pal_plugin.utils.precision import Precision


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


def test_the_size_counts_all_clips_and_names_what_it_cannot_count(tiny_config, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    whisper = {**tiny_config("lal")["encoders"]["whisper"], "cache": {"folder": str(tmp_path)}}
    processor = AudioProcessor({"whisper": whisper})
    model = SimpleNamespace(
        encoders=nn.ModuleDict(build_encoders({"whisper": whisper})).eval().requires_grad_(False),
        frontend=processor.frontend,
        caches=caches_of(processor.frontend, {}),
    )
    talks = SimpleNamespace(audio_processor=processor, audio_clips=lambda: 9)  # of 4
    endless = SimpleNamespace(audio_processor=processor)
    cpu = torch.device("cpu")
    open_caches(model, {"talks train": talks}, Precision("none", cpu), cpu)
    size = model.caches["whisper"].window_bytes
    assert f"this run has 9 clips (variants included), up to {gb(9 * size)} at" in caplog.text
    datasets = {"talks train": talks, "web train": endless}
    open_caches(model, datasets, Precision("none", cpu), cpu)
    told = "this run has 9 clips (variants included) besides those of web train, whose number is"
    assert told in caplog.text
