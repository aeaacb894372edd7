"""Checkpoints on the disk: the newest whole one, and damage by its name."""

import json
import logging

import pytest

from pal_plugin.training.checkpoint_folder import read, steps_in
from pal_plugin.training.checkpointing import (
    newest,
)
from pal_plugin.utils.errors import ConfigError

from .test_checkpointing import save


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "state.json"])
@pytest.mark.parametrize("how", ["cut", "gone", "changed"])
def test_a_damaged_checkpoint_is_named_and_an_older_one_is_taken(tmp_path, caplog, file, how):
    caplog.set_level(logging.WARNING)
    save(tmp_path, 1)
    path = save(tmp_path, 2)
    victim = path / file
    data = victim.read_bytes()
    if how == "cut":
        victim.write_bytes(data[: len(data) // 2])
    elif how == "gone":
        victim.unlink()
    else:
        middle = len(data) // 2
        victim.write_bytes(data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :])
    found, state = newest(tmp_path)
    assert (found.name, state["step"]) == ("step-00000001", 1)
    assert file in caplog.text
    assert "trying the next older checkpoint" in caplog.text


def test_steps_are_ordered_by_number_and_other_names_are_none(tmp_path):
    for name in ("step-2", "step-10", "step-9", "damaged-step-11", ".writing-step-12", "step-x"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-13").write_text("a file")
    assert [path.name for path in steps_in(tmp_path)] == ["step-10", "step-9", "step-2"]
    assert steps_in(tmp_path / "gone") == []


def test_a_state_can_be_read_without_the_weights(tmp_path):
    path = save(tmp_path, 1)
    (path / "model.safetensors").unlink()
    assert read(path, check=False)["step"] == 1
    with pytest.raises(ConfigError, match=r"is damaged: model\.safetensors has no file"):
        read(path)
    (path / "state.json").write_text(json.dumps({"step": 1}))  # of no checkpoint of ours
    with pytest.raises(ConfigError, match=r"no readable state\.json"):
        read(path, check=False)
