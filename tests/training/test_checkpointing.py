"""Checkpoints: whole or absent, damaged ones aside, optimizer states by name."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from pal_plugin.training import checkpointing as checkpoints
from pal_plugin.training.checkpointing import (
    newest,
    optimizer_tensors,
    recover,
    restore_optimizer,
    trained_names,
)
from pal_plugin.training.saving import SaveError
from pal_plugin.utils.errors import ConfigError


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def trained(steps=3):
    net = model()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for step in range(steps):
        net(torch.full((2, 3), float(step))).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return net, optimizer


def save(run_dir, step, keep=2, **state):
    net, optimizer = trained()
    return checkpoints.write(
        run_dir,
        step,
        lambda path: save_file(net.state_dict(), path),
        optimizer_tensors(optimizer, net),
        {"step": step, "trained": trained_names(optimizer, net), **state},
        keep,
    )


def test_what_was_written_comes_back_and_old_ones_go(tmp_path):
    for step in (5, 10, 100):
        save(tmp_path, step, note="x")
    path, state = newest(tmp_path)
    assert path.name == "step-00000100"
    assert {k: state[k] for k in ("step", "note")} == {"step": 100, "note": "x"}
    assert sorted(p.name for p in path.parent.iterdir()) == ["step-00000010", "step-00000100"]
    assert newest(tmp_path / "elsewhere") is None


def test_an_optimizer_goes_on_as_if_it_had_never_stopped(tmp_path):
    path = save(tmp_path, 3)
    net, optimizer = trained(3)
    again, other = model(), None
    again.load_state_dict(net.state_dict())
    other = torch.optim.AdamW(again.parameters(), lr=0.1)
    restore_optimizer(other, again, path)
    for m, o in ((net, optimizer), (again, other)):
        m(torch.ones(2, 3)).sum().backward()
        o.step()
    for a, b in zip(net.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_optimizer_of_other_parameters_is_refused_by_name(tmp_path):
    path = save(tmp_path, 3)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4))
    with pytest.raises(ConfigError, match=r"1\.bias, 1\.weight"):
        restore_optimizer(torch.optim.AdamW(net.parameters()), net, path)


@pytest.mark.parametrize("moment", ["model", "optimizer", "fsync", "rename"])
def test_a_save_that_fails_leaves_the_earlier_one_and_no_rest(tmp_path, monkeypatch, moment):
    save(tmp_path, 1)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    write_model = full if moment == "model" else lambda path: path.write_bytes(b"weights")
    if moment == "optimizer":
        monkeypatch.setattr(checkpoints, "write_tensors", full)
    if moment == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    if moment == "rename":
        monkeypatch.setattr(os, "rename", full)
    told = r"step-00000002.*No space left.*step-00000001 is intact.*--resume auto"
    with pytest.raises(SaveError, match=told):
        checkpoints.write(tmp_path, 2, write_model, {}, {}, 2)
    monkeypatch.undo()
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step-00000001"]
    assert newest(tmp_path)[1]["step"] == 1


def test_what_a_killed_save_left_behind_is_no_checkpoint(tmp_path):
    path = save(tmp_path, 1)
    shutil.copytree(path, path.parent / ".writing-step-00000002")
    assert newest(tmp_path)[0] == path  # a look changes nothing
    assert len(list(path.parent.iterdir())) == 2
    assert recover(tmp_path)[0] == path
    assert [p.name for p in path.parent.iterdir()] == ["step-00000001"]


def test_a_damaged_checkpoint_is_moved_aside_and_counts_no_more(tmp_path):
    save(tmp_path, 50)
    (save(tmp_path, 100) / "model.safetensors").write_bytes(b"")
    assert recover(tmp_path)[1]["step"] == 50
    save(tmp_path, 60, keep=1)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["damaged-step-00000100", "step-00000060"]
    assert newest(tmp_path)[1]["step"] == 60


def test_the_same_step_is_written_once(tmp_path):
    path = save(tmp_path, 7, keep=1)
    before = (path / "state.json").stat().st_mtime_ns
    assert save(tmp_path, 7, keep=1) == path
    assert (path / "state.json").stat().st_mtime_ns == before


def test_a_parameter_without_a_gradient_so_far_is_no_hindrance(tmp_path):
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    net[0](torch.ones(1, 3)).sum().backward()
    optimizer.step()
    path = checkpoints.write(
        tmp_path,
        1,
        lambda file: file.write_bytes(b""),
        optimizer_tensors(optimizer, net),
        {"trained": trained_names(optimizer, net)},
        1,
    )
    again = torch.optim.AdamW(net.parameters())
    restore_optimizer(again, net, path)
    assert len(again.state) == 2


def test_nothing_in_a_checkpoint_is_a_pickle(tmp_path):
    for file in save(tmp_path, 1).iterdir():
        assert file.suffix in (".safetensors", ".json")
    assert json.loads((tmp_path / "checkpoints/step-00000001/state.json").read_text())["step"] == 1
