"""Answered rows are kept, found again, and merged without loss."""

import json
import logging

import pytest
import torch

from pal_plugin.evaluation.prediction_cache import PredictionCache, merge_rows, settings_hash
from pal_plugin.utils.errors import ConfigError

SETTINGS = {"run": {"seed": 1, "generation": {"num_beams": 1}}}


def row(name, **more):
    return {"id": name, "task": "qa", "question_type": "qa", "prediction": "x", **more}


class Task:
    def __init__(self):
        self.asked = []

    def valid_step(self, model, samples):
        self.asked += samples["question_id"]
        return [row(name, prediction=f"{name}!") for name in samples["question_id"]]


def batch(*names):
    return {
        "text_input": ["q"] * len(names),
        "task": ["qa"] * len(names),
        "question_type": ["qa"] * len(names),
        "question_id": list(names),
        "clip_index": torch.arange(len(names)),
        "num_clips": len(names),
    }


def test_known_rows_are_not_asked_again_and_keep_their_places(tmp_path):
    path, task = tmp_path / "val.partial.jsonl", Task()
    first = PredictionCache(path, SETTINGS)
    assert first.begin(None) == []
    first.answer(task, None, batch("a", "b"))
    first.close()
    second, again = PredictionCache(path, dict(reversed(SETTINGS.items()))), Task()
    assert [r["id"] for r in second.begin(None)] == ["a", "b"]
    rows = second.answer(again, None, batch("b", "c", "a"))
    assert [r["prediction"] for r in rows] == ["b!", "c!", "a!"]
    assert again.asked == ["c"]
    second.begin(None)  # another pass over the same split
    assert second.answer(again, None, batch("a", "c")) == [rows[2], rows[1]]
    assert again.asked == ["c"]
    assert len(second) == 3


def test_datasets_of_one_split_are_kept_apart(tmp_path):
    cache, task = PredictionCache(tmp_path / "p", SETTINGS), Task()
    for name in ("x", "y"):
        cache.begin(name)
        (found,) = cache.answer(task, None, batch("a"))
        assert found["dataset"] == name
    assert task.asked == ["a", "a"]
    cache.close()
    assert [r["dataset"] for r in PredictionCache(tmp_path / "p", SETTINGS).begin("y")] == ["y"]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_cut_off_last_line_is_asked_again(tmp_path, caplog, cut):
    caplog.set_level(logging.WARNING)
    path, task = tmp_path / "val.partial.jsonl", Task()
    cache = PredictionCache(path, SETTINGS)
    cache.answer(task, None, batch("a", "b"))
    cache.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = Task()
    resumed = PredictionCache(path, SETTINGS)
    rows = resumed.answer(again, None, batch("a", "b"))
    resumed.close()
    assert again.asked == ["b"]
    assert [r["prediction"] for r in rows] == ["a!", "b!"]
    assert "truncated last line" in caplog.text
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("id") for line in lines] == [None, "a", "b"]


def test_a_file_that_was_cut_in_its_first_line_starts_anew(tmp_path):
    path = tmp_path / "val.partial.jsonl"
    path.write_text('{"settings_sha')
    cache = PredictionCache(path, SETTINGS)
    cache.close()
    assert len(cache) == 0
    assert json.loads(path.read_text())["settings"] == SETTINGS


def test_other_settings_are_refused_by_name(tmp_path):
    path = tmp_path / "val.partial.jsonl"
    PredictionCache(path, SETTINGS).close()
    other = {"run": {"seed": 2, "generation": {"num_beams": 4}}}
    with pytest.raises(ConfigError, match=r"run\.generation\.num_beams, run\.seed"):
        PredictionCache(path, other)
    path.write_text(path.read_text() + "not json\n")
    with pytest.raises(ConfigError, match="delete the file"):
        PredictionCache(path, SETTINGS)


def test_the_order_of_settings_does_not_count():
    assert settings_hash({"a": 1, "b": [2]}) == settings_hash({"b": [2], "a": 1})
    assert settings_hash({"a": 1}) != settings_hash({"a": 2})


def test_parts_of_several_processes_give_every_row_once():
    rows = [row(str(i)) for i in range(7)]
    # Samplers pad the last rank by starting over.
    merged = merge_rows([[rows[0], rows[2], rows[4]], [rows[1], rows[3], dict(rows[0])]])
    assert [r["id"] for r in merged] == ["0", "2", "4", "1", "3"]
    assert len(merge_rows([rows, [{**rows[0], "dataset": "other"}]])) == 8
    assert merge_rows([[{"free": 1}], [{"free": 1}]]) == [{"free": 1}, {"free": 1}]
    with pytest.raises(ConfigError, match=r"'0' differ in prediction.*\"x\".*\"y\""):
        merge_rows([rows, [row("0", prediction="y")]])


def test_a_doubled_id_and_changed_data_are_refused(tmp_path):
    class Task:
        def valid_step(self, model, samples):
            columns = zip(*(samples[c] for c in COLUMNS), strict=True)
            return [dict(zip(NAMES, row, strict=True)) for row in columns]

    COLUMNS = ("task", "question_type", "question_id", "text_input", "text_output")
    NAMES = ("task", "question_type", "id", "question", "reference")

    def batch(*rows):
        return dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))

    dog = ("qa", "kind", "c1", "What?", "dog")
    known = PredictionCache(tmp_path / "a.partial.jsonl", {})
    known.begin(None)
    assert known.answer(Task(), None, batch(dog))[0]["reference"] == "dog"
    with pytest.raises(ConfigError, match="two questions of a split have the id 'c1'"):
        known.answer(Task(), None, batch(("qa", "kind", "c1", "What?", "horse")))
    with pytest.raises(ConfigError, match="two questions of a split have the id 'c2'"):
        known.answer(Task(), None, batch(*[("qa", "kind", "c2", "What?", "cat")] * 2))
    known.close()
    again = PredictionCache(tmp_path / "a.partial.jsonl", {})
    again.begin(None)
    with pytest.raises(ConfigError, match="reference 'dog', but now has 'horse': the data changed"):
        again.answer(Task(), None, batch(("qa", "kind", "c1", "What?", "horse")))
