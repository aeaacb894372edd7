"""Figures of a run: JSON lines, and TensorBoard or Weights & Biases where they are."""

import importlib.util
import json
import sys
import types

import pytest
import torch

from pal_plugin.training.metric_logger import MetricLogger
from pal_plugin.utils.errors import ConfigError


def test_lines_are_json_and_what_came_behind_a_checkpoint_is_cut(tmp_path):
    watch = MetricLogger(tmp_path, tensorboard=False)
    watch.log("train_step", {"loss": torch.tensor(1.5), "lr": {"a": float("nan")}}, step=1)
    size = watch.size()
    watch.log("train_step", {"loss": 2.0})
    watch.cut(size)
    watch.log("val", {"n": 3})
    lines = [json.loads(line) for line in (tmp_path / "log.txt").read_text().splitlines()]
    assert lines == [
        {"kind": "train_step", "loss": 1.5, "lr": {"a": None}},
        {"kind": "val", "n": 3},
    ]


class Board:
    def __init__(self, folder, purge_step=None):
        self.folder, self.points, self.purged = folder, [], purge_step

    def add_scalar(self, *point):
        self.points.append(point)

    def close(self):
        self.folder = None


def test_tensorboard_gets_numbers_by_dotted_names(tmp_path, monkeypatch):
    """With a stand-in, since the package need not be installed."""
    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Board
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "tensorboard")
    watch = MetricLogger(tmp_path)
    watch.log("train_step", {"loss": 1.0, "lr_by_group": {"lora": 0.5}, "order": "abc"}, step=7)
    watch.log("train_step", {"loss": 2.0})
    board = watch._board
    assert board.points == [("train_step/loss", 1.0, 7), ("train_step/lr_by_group.lora", 0.5, 7)]
    watch.close()
    assert board.folder is None
    assert board.purged is None
    assert MetricLogger(tmp_path, step=7)._board.purged == 8  # what was drawn behind is drawn anew


class Service(types.ModuleType):
    def init(self, **how):
        self.how, self.lines, self.metrics = how, [], []
        return self

    def define_metric(self, *names, **how):
        self.metrics.append((names, how))

    def log(self, figures):
        self.lines.append(figures)

    def finish(self):
        self.how = None


def test_weights_and_biases_gets_numbers_by_the_global_step(tmp_path, monkeypatch):
    """With a stand-in; its own steps may not go back, and a run that goes on does."""
    service = Service("wandb")
    monkeypatch.setitem(sys.modules, "wandb", service)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True if name == "wandb" else None)
    watch = MetricLogger(tmp_path, wandb="project", config={"run": {}})
    assert service.how["project"] == "project"
    assert service.how["resume"] == "allow"
    watch.log("train_step", {"loss": 1.0}, step=7)
    watch.log("train_step", {"loss": 2.0}, step=3)
    assert service.lines == [
        {"train_step/loss": 1.0, "global_step": 7},
        {"train_step/loss": 2.0, "global_step": 3},
    ]
    assert service.metrics == [(("*",), {"step_metric": "global_step"})]
    watch.close()
    assert service.how is None


def test_what_is_not_installed_is_an_error_only_if_it_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert MetricLogger(tmp_path)._board is None
    with pytest.raises(ConfigError, match=r"run\.tensorboard.*pip install tensorboard"):
        MetricLogger(tmp_path, tensorboard=True)
    with pytest.raises(ConfigError, match=r"run\.wandb.*pip install wandb"):
        MetricLogger(tmp_path, wandb="project")
