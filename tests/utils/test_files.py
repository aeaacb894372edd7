"""What is written: whole files or none, and valid JSON whatever it holds."""

import json

import numpy as np
import pytest
import torch

from pal_plugin.utils import files
from pal_plugin.utils.files import replace_text, replacing


def test_a_block_that_fails_changes_nothing(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"old")

    def fail():
        with replacing(path) as partial:
            partial.write_bytes(b"ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar"]
    assert path.read_bytes() == b"old"


def test_the_new_content_takes_the_place_at_the_end(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as partial:
        partial.write_text("x")
        assert not path.exists()
    replace_text(path, "y")
    assert path.read_text() == "y"
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_tensors_arrays_and_nan_become_json(tmp_path):
    value = {"a": torch.tensor(1.5), "b": np.float32(2), "c": [torch.ones(2)], "d": float("nan")}
    files.write_json(tmp_path / "m.json", value)
    read = json.loads((tmp_path / "m.json").read_text())
    assert read == {"a": 1.5, "b": 2.0, "c": [[1.0, 1.0]], "d": None}
    files.write_jsonl(tmp_path / "r.jsonl", [{"x": "ä"}, {"x": None}])
    assert [json.loads(x) for x in (tmp_path / "r.jsonl").read_text("utf-8").splitlines()] == [
        {"x": "ä"},
        {"x": None},
    ]


def test_staged_files_arrive_together_or_not_at_all(tmp_path):
    target = tmp_path / "c.safetensors"
    with files.staged(target) as path:
        path.write_text("new")
        path.with_suffix(".json").write_text("{}")
        assert not target.exists()
    assert target.read_text() == "new"
    assert (tmp_path / "c.json").read_text() == "{}"

    def fail():
        with files.staged(target) as path:
            path.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert target.read_text() == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.json", "c.safetensors"]


def test_lines_of_json_come_back_whole(tmp_path):
    rows = [{"text": "a\u2028b\n", "n": 1}, {}, [None]]
    files.write_jsonl(tmp_path / "rows.jsonl", rows)
    assert files.read_jsonl(tmp_path / "rows.jsonl") == rows
