"""What a run writes: valid JSON whatever the metrics hold, whole files, a readable table."""

import json

import numpy as np
import pytest
import torch

from pal_plugin.training import report
from pal_plugin.utils import files


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


def test_the_table_shows_each_figure_beside_masked_audio_and_chance():
    text = report.table(
        {
            "val": {
                "classification": {
                    "accuracy": 0.8123,
                    "accuracy_masked_audio": 0.1,
                    "chance": 0.09,
                    "n": 300,
                },
                "transcript": {"wer": 0.5, "wer_masked_audio": None, "n": 7},
            }
        }
    )
    header, _, first, second = text.splitlines()
    assert header.split() == ["split", "task", "figure", "value", "masked", "audio", "chance", "n"]
    assert first.split() == ["val", "classification", "accuracy", "0.812", "0.100", "0.090", "300"]
    assert second.split() == ["val", "transcript", "wer", "0.500", "-", "-", "7"]
