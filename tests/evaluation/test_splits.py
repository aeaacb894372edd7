"""A split evaluated on the toy model: what is found, kept in the run folder, refused."""

import json

import pytest
import torch

from pal_plugin.evaluation.splits import Outcome, SplitEvaluator
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.training.distributed import ALONE
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.precision import Precision

CPU = torch.device("cpu")


class Silent(InstructTask):
    def after_evaluation(self, val_result, split_name, epoch=None):
        return None


@pytest.fixture
def evaluate(toy):
    """`evaluate(task, empty)` -> the evaluator, and what it found of the split "val"."""
    (toy.folder / "result").mkdir()  # as of a run folder

    def run(task_class=InstructTask, empty=False):
        cfg = toy.config()
        task = task_class.setup_task(cfg)
        model = task.build_model(cfg)
        datasets = {} if empty else {"toy_tones": task.build_datasets(cfg)["toy_tones"]["val"]}
        splits = {"val": datasets}
        evaluator = SplitEvaluator(cfg, task, splits, toy.folder, ALONE, None, lambda: None)
        found = evaluator.evaluate("val", 0, model, Precision("none", CPU), CPU, sharded=False)
        evaluator.keep("val", found, model, CPU)
        return evaluator, found

    return run


def test_figures_rows_and_what_repeats_them_are_kept(evaluate, toy):
    evaluator, found = evaluate()
    assert len(found.rows) == 24  # 8 clips, 3 questions each
    assert found.left_out == []
    assert evaluator.metrics["val"] == found.entries
    kept = json.loads((toy.folder / "metrics.json").read_text())
    assert kept["val"].keys() == found.entries.keys()
    rows = (toy.folder / "result" / "val.jsonl").read_text().splitlines()
    assert [json.loads(row)["id"] for row in rows] == [row["id"] for row in found.rows]
    repeats = json.loads((toy.folder / "evaluation.json").read_text())["val"]["provenance"]
    assert (repeats["rows"], repeats["clips"]["answered"]) == (24, 8)


def test_bookkeeping_beside_the_tasks_is_no_entry():
    log = {"qa": {"accuracy": 1.0}, "agg_metrics": 1.0}
    assert Outcome(log, [], []).entries == {"qa": {"accuracy": 1.0}}


def test_a_split_without_questions_is_an_error(evaluate):
    with pytest.raises(ConfigError, match="the split 'val' has nothing to evaluate"):
        evaluate(empty=True)


def test_a_task_must_say_what_selects_the_best_epoch(evaluate):
    with pytest.raises(TypeError, match=r"Silent\.after_evaluation must return a dict with 'agg_m"):
        evaluate(Silent)
