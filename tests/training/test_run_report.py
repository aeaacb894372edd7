"""The report of a run folder: its cost, and a warning where there is none."""

import json
import logging

import pytest

from pal_plugin.training import run_report
from pal_plugin.training.run_report import REPORT, cost_of, in_words, write_report
from tests.evaluation.results.conftest import answers, write


@pytest.fixture
def run(tmp_path):
    folder = write(tmp_path / "run", answers([1, 0, 1]))
    step = {"kind": "train_step", "global_step": 20, "loss": 1.0, "clips": 3200}
    step |= {"clips_per_s": 9.5, "data_wait": 0.02, "memory_gib": 2.0, "run_seconds": 61}
    later = {**step, "global_step": 1040, "memory_gib": 1.5, "run_seconds": 3725.0}
    (folder / "log.txt").write_text(json.dumps(step) + "\n" + json.dumps(later) + "\n")
    facts = {"parameters": {"trainable": 1500, "total": 20000}, "seconds": 4000.5, "device": "cpu"}
    (folder / "finished.json").write_text(json.dumps(facts))
    return folder


def test_the_cost_is_what_the_run_logged(run):
    assert cost_of(run) == {
        "parameters, trainable": "1,500",
        "parameters, total": "20,000",
        "steps": "1,040",
        "clips heard in training": "3,200",
        "clips per second": "9.5",
        "waiting for data": "2.0% of the last epoch",
        "training time": "1 h 02 min",
        "peak memory of a process": "2.00 GiB",
        "time in all, with evaluation": "1 h 06 min",
        "device": "cpu",
    }


def test_the_compute_is_among_the_costs_of_all_processes(run, monkeypatch):
    facts = {"parameters": {"total": 3}, "processes": 2}
    (run / "finished.json").write_text(json.dumps(facts))
    texts = lambda folder, processes: {"answer": f"{folder.name} {processes}"}  # noqa: E731
    monkeypatch.setattr(run_report, "compute_texts", texts)
    found = cost_of(run)
    assert (found["answer"], found["processes"]) == ("run 2", "2")


def test_a_model_that_cannot_be_counted_leaves_the_compute_out(run, caplog):
    with caplog.at_level(logging.INFO):
        assert "FLOPs of an answer" not in cost_of(run)
    assert "no FLOPs in the report: only a model with encoders" in caplog.text
    (run / "config.yaml").write_text("model: {llm: 1}\nrun: {}\n")
    with caplog.at_level(logging.INFO):
        assert "FLOPs of an answer" not in cost_of(run)
    assert "no FLOPs in the report: KeyError: 'batch_size_train'" in caplog.text


def test_a_run_of_an_earlier_version_costs_what_is_known(run):
    (run / "finished.json").write_text("{}")
    assert "steps" in cost_of(run)
    (run / "finished.json").unlink()
    (run / "log.txt").unlink()
    assert cost_of(run) == {}
    assert write_report(run, ["val"]) == run / REPORT


def test_the_report_is_in_the_run_folder(run):
    text = write_report(run, ["val"]).read_text()
    assert (run / REPORT).is_file()
    for part in ("1,040", "0.667", "3 answers"):
        assert part in text


def test_results_that_cannot_be_read_leave_a_warning(run, caplog):
    (run / "metrics.json").unlink()
    with caplog.at_level(logging.WARNING):
        assert write_report(run, ["val"]) is None
    assert f"no {REPORT}: " in caplog.text


def test_rows_of_another_task_have_no_report(run, caplog):
    (run / "result" / "val.jsonl").write_text('{"caption": "of a host\'s own task"}\n')
    with caplog.at_level(logging.INFO):
        assert write_report(run, ["val"]) is None
    assert "another task" in caplog.text


@pytest.mark.parametrize(
    ("seconds", "text"), [(41.6, "42 s"), (725, "12 min 05 s"), (3725.0, "1 h 02 min")]
)
def test_times_have_units(seconds, text):
    assert in_words(seconds) == text
