"""Rates by kind of component, and what is not trained."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toys import ToyListener

from pal_plugin.training import optimizers
from pal_plugin.utils.errors import ConfigError

from .test_run import make_run


def test_a_learning_rate_per_component_is_kept_in_proportion(toy, monkeypatch):
    def groups(model, weight_decay):
        return [
            {"params": [model.head.weight], "lr": 0.02},
            {"params": [model.embed.weight], "lr_scale": 3.0},
            {"params": []},
        ]

    monkeypatch.setattr(ToyListener, "param_groups", groups, raising=False)
    run = make_run(toy.config("run.init_lr=0.1"))
    run.training.schedule.step(cur_epoch=0, cur_step=1)
    first, second = run.training.optimizer.param_groups
    assert second["lr"] == pytest.approx(15 * first["lr"])
    assert first["lr"] <= 0.02


def test_kinds_of_components_have_rates_of_their_own(toy, monkeypatch):
    def groups(model, decay):
        return [
            {"name": name, "params": list(part.parameters()), "weight_decay": decay}
            for name, part in (("connectors", model.embed), ("lora", model.head))
        ]

    monkeypatch.setattr(ToyListener, "param_groups", groups, raising=False)
    run = make_run(toy.config("run.lr_scale.connectors=0.5"))
    run.train()
    slow, fast = run.training.optimizer.param_groups
    assert slow["lr"] == pytest.approx(fast["lr"] / 2)
    lines = (run.folder.path / "log.txt").read_text().splitlines()
    rates = json.loads(lines[0])["lr_by_group"]
    assert rates["connectors"] == pytest.approx(rates["lora"] / 2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["run.lr_scale.encoders=0.1"], "sets encoders, but nothing of that is trainable"),
        (["run.lr_scale.encodres=0.1"], "Did you mean 'encoders'"),
    ],
)
def test_a_rate_of_what_is_not_trained_is_an_error(toy, options, told):
    with pytest.raises(ConfigError, match=told):
        make_run(toy.config(*options)).train()


def test_nothing_trainable_is_an_error(toy, monkeypatch):
    build = ToyListener.from_config
    frozen = classmethod(lambda cls, cfg: build(cfg).requires_grad_(False))
    monkeypatch.setattr(ToyListener, "from_config", frozen)
    with pytest.raises(ConfigError, match=r"model\.stage"):
        make_run(toy.config())


def test_matrices_decay_vectors_do_not_and_frozen_weights_are_left_out():
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    model[2].requires_grad_(False)
    run = SimpleNamespace(weight_decay=0.1, beta2=0.95, lr_scale=None)
    optimizer = optimizers.build(model, run, 0.01, torch.device("cpu"))
    decaying, others = optimizer.param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert decaying["params"] == [model[0].weight]
    assert len(others["params"]) == 3  # a bias, and the norm's two
    assert (decaying["lr"], decaying["betas"]) == (0.01, (0.9, 0.95))


def test_gains_go_ten_times_as_fast_and_are_missed_by_nobody(toy):
    part = nn.Linear(2, 2)
    kinds = {"connectors": part.weight, "gains": part.bias}
    scales = dict(toy.config().run_cfg.lr_scale)
    assert scales["gains"] == 10
    groups = [{"name": name, "params": [parameter]} for name, parameter in kinds.items()]
    model = SimpleNamespace(param_groups=lambda decay: groups)
    run = SimpleNamespace(weight_decay=0.0, beta2=0.999, lr_scale=scales)
    optimizer = optimizers.build(model, run, 1e-3, torch.device("cpu"))
    assert [group["lr_scale"] for group in groups] == [1, 10]
    assert not optimizers.has_group_rates(optimizer)
    optimizer.param_groups[0]["lr_scale"] = 10.0
    assert optimizers.has_group_rates(optimizer)
    groups.pop()
    for scale in (10.0, 1.0):  # nothing with a gain: no complaint
        scales["gains"] = scale
        optimizers.build(model, run, 1e-3, torch.device("cpu"))
    scales["gains"] = 3.0
    with pytest.raises(ConfigError, match="sets gains, but nothing of that is trainable"):
        optimizers.build(model, run, 1e-3, torch.device("cpu"))
