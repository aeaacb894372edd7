"""Long answers are written for a judge."""

import json

import pytest

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.utils.errors import ConfigError

from .conftest import Told, batch, evaluate, item


def test_judged_answers_are_written_for_the_judge(tmp_path):
    samples = batch(item("reasoning", "a storm", facts={"caption": "thunder"}))
    task, rows, entries = evaluate(Told({"a": "wind"}), samples)
    assert entries["reasoning"] == {"n": 1}
    assert task.write_files(rows, "val", tmp_path) == {}
    (line,) = map(json.loads, (tmp_path / "val.reasoning.judge.jsonl").read_text().splitlines())
    assert line["id"] == "a#0"
    assert "thunder" in line["messages"][0]["content"]
    assert (tmp_path / "val.reasoning.judge_masked.jsonl").is_file()
    (tmp_path / "own.txt").write_text("Q {question} A {answer} {other}")
    own = {"reasoning": {"template": str(tmp_path / "own.txt")}}
    task, rows, _ = evaluate(Told({"a": "wind"}), samples, evaluation=own)
    task.write_files(rows, "val", tmp_path)
    (line,) = map(json.loads, (tmp_path / "val.reasoning.judge.jsonl").read_text().splitlines())
    assert line["messages"][0]["content"] == "Q reasoning? A wind {other}"
    (tmp_path / "own.txt").write_text("no place for it")
    with pytest.raises(ConfigError, match=r"\{answer\}"):
        InstructTask(evaluation=own)
