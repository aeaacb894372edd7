"""Run folders are unique."""

import os
import re
import time

import pytest

from pal_plugin.training.run_folder import check_output_dir, new_run_dir
from pal_plugin.utils.errors import ConfigError


def test_runs_of_one_second_do_not_share_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda form: "20260102-030405")
    names = [new_run_dir(tmp_path, "recipe").name for _ in range(3)]
    stem = "recipe-20260102-030405"
    assert names == [stem, f"{stem}-2", f"{stem}-3"]


def test_a_relative_output_dir_is_under_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = new_run_dir("output", "recipe")
    assert run.parent == tmp_path / "output"
    assert re.fullmatch(r"recipe-\d{8}-\d{6}", run.name)


@pytest.mark.parametrize("inner", ["", "inner", "inner/most"])
def test_a_file_in_place_of_the_output_folder_is_told(tmp_path, inner):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file; expected a folder"):
        new_run_dir(tmp_path / "file" / inner, "r")
    assert check_output_dir(tmp_path / "not" / "there") == tmp_path / "not" / "there"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="is not writable"):
        check_output_dir(tmp_path / "output")
