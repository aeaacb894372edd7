"""Runs are read without torch; what is missing or given twice is named."""

import csv
import io
import json
import subprocess
import sys

import pytest

from pal_plugin.commands.main import main as pal
from pal_plugin.evaluation.results.read import read_run
from pal_plugin.utils.errors import ConfigError

from .conftest import RIGHT, answers, table, write


def test_runs_are_read_without_torch(runs):
    program = (
        "import sys; from pal_plugin.commands.main import main\n"
        f"assert main(['results', *{list(map(str, runs))}]) == 0\n"
        "assert not {'torch', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_an_answer_that_was_lost_is_told(runs, capsys):
    file = runs[0] / "result" / "val.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[1:]))
    assert pal(["results", str(runs[0])]) == 2
    assert "expected 16 answers of qa, read 15" in capsys.readouterr().err


def test_two_runs_of_one_name_and_one_run_given_twice(runs, tmp_path, capsys):
    other = write(tmp_path / "elsewhere" / "one", answers(RIGHT["two"]))
    text = table(capsys, runs[0], other)
    assert "| elsewhere/one |" in text
    assert pal(["results", str(runs[0]), str(runs[0])]) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["absent", "empty", "run", "parent", "no rows", "broken"])
def test_folders_without_results_are_named(runs, tmp_path, capsys, kind):
    folder, words = tmp_path / "odd", "odd has no results"
    if kind != "absent":
        folder.mkdir()
    if kind == "absent":
        words = "no folder"
    elif kind == "run":
        (folder / "config.yaml").write_text("run: {}")
        words = "has not evaluated anything yet"
    elif kind == "parent":
        folder, words = tmp_path, "It contains run folders: one, two"
    elif kind == "no rows":
        (folder / "metrics.json").write_text('{"val": {}}')
        words = "result/val.jsonl"
    elif kind == "broken":
        (folder / "metrics.json").write_text("{")
        words = "cannot be read"
    assert pal(["results", str(runs[0]), str(folder)]) == 2
    error = capsys.readouterr().err
    assert str(folder) in error
    assert words in error
    assert "Traceback" not in error


def test_a_judges_scores_become_figures(tmp_path, capsys):
    rows = [
        {
            "id": f"{i}#0", "sample_id": str(i), "task": "chat", "question_type": "chat",
            "reference": "r", "answers": ["r"], "prediction": "p", "prediction_masked": "m",
        }
        for i in range(4)
    ]  # fmt: skip
    missing = {"chat": {"missing": {"first": "ask a judge", "second": "ask a judge"}}}
    folder = write(tmp_path / "run", rows, evaluation={"figures": missing})
    assert "not computed: val chat second: ask a judge" in table(capsys, folder)
    judged = [{"id": f"{i}#0", "response": f"First: 5\nSecond: {i + 6}"} for i in range(2)]
    judged += [{"id": "0#0_masked", "response": {"first": 5, "second": 1}}]
    judged += [{"id": "2#0", "response": "no idea"}]
    path = folder / "result" / "val.chat.judged.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in judged))
    text = table(capsys, folder)
    assert "| run | val | chat | second | 6.500 | [6.000, 7.000] | 1.000 | +5.000 [5" in text
    assert "| - | 2 of 4 | 2 |" in text
    assert "4 of 8 answers not judged, excluded from the scores: 3#0; 1#0_masked; 2#0_" in text
    assert "1 of 8 judgements unreadable, excluded from the scores: 2#0." in text
    rows = list(csv.DictReader(io.StringIO(table(capsys, folder, "--csv"))))
    assert {(r["n"], r["asked"], r["clips"]) for r in rows} == {("2", "4", "2")}
    assert "not computed" not in text
    path.write_text('{"id": "9#0", "response": "First: 5"}\n')
    assert pal(["results", str(folder)]) == 2
    assert "'9#0'" in capsys.readouterr().err


def test_a_training_that_evaluates_nothing_has_settings_alone(runs):
    (runs[0] / "metrics.json").unlink()
    with pytest.raises(ConfigError, match="has not evaluated anything yet"):
        read_run(runs[0])
    run = read_run(runs[0], evaluated=False)
    assert (run.metrics, run.rows) == ({}, {})
    assert run.settings["model.model_type"] == "lal"
