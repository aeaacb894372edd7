"""What is said where weights cannot be written: what is left, what it takes, what to do."""

import errno
import json

import pytest
from safetensors import SafetensorError

from pal_plugin.training import saving
from pal_plugin.training.saving import SaveError, save_errors

FULL = OSError(errno.ENOSPC, "No space left on device")


def failing(error, target, run_dir, needed=0):
    with pytest.raises(SaveError) as told, save_errors(target, run_dir, needed):
        raise error
    return str(told.value)


def earlier(run_dir, size):
    path = run_dir / "checkpoints" / "step-00000010"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(bytes(size))
    (path / "state.json").write_text(json.dumps({}))


def test_without_an_earlier_checkpoint_none_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda path: type("", (), {"free": 1_000_000}))
    told = failing(FULL, tmp_path / "checkpoints" / "step-00000010", tmp_path, 5_000_000)
    assert "This run has no earlier checkpoint. Free disk space, then start it again" in told
    assert "It needs about 5.0 MB; 1.0 MB are free." in told
    assert "--resume" not in told


def test_with_one_it_is_named_and_tells_the_size(tmp_path):
    earlier(tmp_path, 7_000_000)
    told = failing(FULL, tmp_path / "checkpoints" / "step-00000020", tmp_path, 5_000_000)
    assert "step-00000010 is intact. Free disk space, then resume with --resume auto" in told
    assert "It needs about 7.0 MB" in told
    # The best weights are less than a checkpoint; how much less is not known.
    assert "It needs" not in failing(FULL, tmp_path / "checkpoint_best.safetensors", tmp_path)


def test_safetensors_own_words_for_a_full_disk_are_known(tmp_path):
    error = SafetensorError("I/O error: No space left on device (os error 28)")
    assert "Free disk space" in failing(error, tmp_path / "checkpoint_best.safetensors", tmp_path)


def test_another_error_of_the_disk_asks_for_no_room(tmp_path):
    error = PermissionError(errno.EACCES, "Permission denied")
    told = failing(error, tmp_path / "checkpoints" / "step-00000010", tmp_path, 5_000_000)
    assert "Permission denied" in told
    assert "Fix this, then start it again" in told
    assert "room" not in told
    assert "MB" not in told


def test_a_bug_stays_what_it_is(tmp_path):
    with pytest.raises(KeyError), save_errors(tmp_path, tmp_path):
        raise KeyError("bug")
