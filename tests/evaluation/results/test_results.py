"""`pal results`: figures and intervals from the rows, what differs, and folders without results."""

import csv
import io
import json
import subprocess
import sys

import pytest

from pal_plugin.commands.main import main as pal
from pal_plugin.evaluation.metrics.bootstrap import paired_interval, ratio_interval
from pal_plugin.evaluation.results.figures import figures_of
from pal_plugin.evaluation.results.read import read_run
from pal_plugin.evaluation.summary import summarise

RIGHT = {"one": [1, 1, 1, 0, 1, 1, 0, 1], "two": [1, 0, 1, 0, 0, 1, 0, 1]}
MASKED = [0, 0, 1, 0, 1, 0, 0, 0]


def write(folder, rows, seed=0, masked=True, evaluation=None):
    (folder / "result").mkdir(parents=True)
    (folder / "result" / "val.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    entries = {"val": summarise(rows, masked=masked)}
    (folder / "metrics.json").write_text(json.dumps(entries))
    (folder / "config.yaml").write_text(
        f"model: {{model_type: lal}}\nrun: {{seed: {seed}, name: {folder.name}}}\n"
    )
    if evaluation is not None:
        (folder / "evaluation.json").write_text(json.dumps({"val": evaluation}))
    return folder


def answers(right, kinds=("count",)):
    return [
        {
            "id": f"{clip}#{kind}",
            "sample_id": str(clip),
            "task": "qa",
            "question_type": kind,
            "question": "?",
            "reference": "yes",
            "answers": ["yes"],
            "prediction": "yes" if good else "no",
            "prediction_masked": "yes" if MASKED[clip] else "no",
        }
        for clip, good in enumerate(right)
        for kind in kinds
    ]


@pytest.fixture
def runs(tmp_path):
    return [
        write(tmp_path / name, answers(right, ("count", "first")), seed)
        for seed, (name, right) in enumerate(RIGHT.items())
    ]


def table(capsys, *arguments):
    assert pal(["results", *map(str, arguments)]) == 0
    return capsys.readouterr().out


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
    assert "15 answers of qa, its figures are of 16" in capsys.readouterr().err


def test_csv_has_values_intervals_and_the_settings_that_differ(runs, capsys):
    rows = list(csv.DictReader(io.StringIO(table(capsys, *runs, "--csv"))))
    assert [(r["run"], r["task"]) for r in rows[:3]] == [
        ("one", "qa"),
        ("one", "qa/count"),
        ("one", "qa/first"),
    ]
    whole = rows[0]
    assert float(whole["value"]) == 0.75
    assert float(whole["masked_audio"]) == 0.25
    assert float(whole["difference"]) == 0.5
    assert (whole["n"], whole["clips"]) == ("16", "8")
    # Both questions about a clip are drawn together.
    expected = ratio_interval(RIGHT["one"], [1] * 8, range(8))
    assert float(whole["low"]) == pytest.approx(expected.low)
    assert float(whole["high"]) == pytest.approx(expected.high)
    paired = paired_interval((RIGHT["one"], [1] * 8), (MASKED, [1] * 8), range(8))
    assert float(whole["difference_low"]) == pytest.approx(paired.low)
    assert {r["run"]: r["run.seed"] for r in rows} == {"one": "0", "two": "1"}
    assert "run.name" not in whole
    assert "model.model_type" not in whole


def test_markdown_is_a_table_with_what_differs_below(runs, capsys):
    text = table(capsys, *runs, "--draws", 200)
    lines = text.splitlines()
    assert lines[0].startswith("| run | split | task | figure | value | 95 % | audio masked |")
    assert len({line.count("|") for line in lines[:8]}) == 1
    assert "| one | val | qa | accuracy | 0.750 | [" in text
    assert "| run.seed | 0 | 1 |" in text
    assert "model_type" not in text


def test_out_figures_and_seed(runs, tmp_path, capsys):
    target = tmp_path / "new" / "table.csv"
    table(capsys, runs[0], "--csv", "--out", target, "--figures", "accuracy")
    first = target.read_text()
    table(capsys, runs[0], "--csv", "--out", target, "--seed", 0)
    assert target.read_text() == first
    assert pal(["results", str(runs[0]), "--figures", "wer"]) == 2
    assert "accuracy" in capsys.readouterr().err


def test_two_runs_of_one_name_and_one_run_given_twice(runs, tmp_path, capsys):
    other = write(tmp_path / "elsewhere" / "one", answers(RIGHT["two"]))
    text = table(capsys, runs[0], other)
    assert "| elsewhere/one |" in text
    assert pal(["results", str(runs[0]), str(runs[0])]) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["absent", "empty", "run", "parent", "no rows", "broken"])
def test_folders_without_results_are_named(runs, tmp_path, capsys, kind):
    folder, words = tmp_path / "odd", "odd holds no results"
    if kind != "absent":
        folder.mkdir()
    if kind == "absent":
        words = "no folder"
    elif kind == "run":
        (folder / "config.yaml").write_text("run: {}")
        words = "evaluated nothing yet"
    elif kind == "parent":
        folder, words = tmp_path, "There are runs in it: one, two"
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


def test_f1_and_map_have_intervals_too(tmp_path):
    rows = [
        {
            "id": str(i), "sample_id": str(i), "task": "classification", "question_type": "k",
            "reference": "ab"[i % 2], "answers": ["ab"[i % 2]],
            "prediction": "ab"[i % 2 and i % 6 > 1],
        }
        for i in range(40)
    ]  # fmt: skip
    rows += [
        {
            "id": f"t{i}", "sample_id": str(i), "task": "tagging", "question_type": "t",
            "right": [i % 3], "scores": [float(i % 3 == j) + (i * j % 5) / 4 for j in range(3)],
            "answers": [], "reference": "", "prediction": "",
        }
        for i in range(40)
    ]  # fmt: skip
    run = read_run(write(tmp_path / "run", rows, masked=False))
    found = {(f.entry, f.name): f for f in figures_of(run)}
    for key in (("classification", "macro_f1"), ("tagging", "map")):
        figure = found[key]
        assert figure.interval.low < figure.value < figure.interval.high
        assert figure.interval.value == pytest.approx(figure.value)
        assert figure.difference is None


def test_captions_without_a_loss_have_figures_of_the_others(tmp_path, capsys):
    rows = [
        {
            "id": f"{i}#0", "sample_id": str(i), "task": "caption", "question_type": "caption",
            "reference": "r", "answers": ["r"], "prediction": None, "loss": loss,
        }
        for i, loss in enumerate([1.0, None, 3.0, None])
    ]  # fmt: skip
    text = table(capsys, write(tmp_path / "some", rows, masked=False))
    assert "| some | val | caption | loss | 2.000 | [1.000, 3.000] |" in text
    rows = [{**row, "loss": None} for row in rows]
    text = table(capsys, write(tmp_path / "none", rows, masked=False))
    assert "| none | val | caption | loss | - | - |" in text


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
    assert "4 of 8 answers not judged, they count in no score: 3#0; 1#0_masked; 2#0_" in text
    assert "1 of 8 judgements not readable, they count in no score: 2#0." in text
    rows = list(csv.DictReader(io.StringIO(table(capsys, folder, "--csv"))))
    assert {(r["n"], r["asked"], r["clips"]) for r in rows} == {("2", "4", "2")}
    assert "not computed" not in text
    path.write_text('{"id": "9#0", "response": "First: 5"}\n')
    assert pal(["results", str(folder)]) == 2
    assert "'9#0'" in capsys.readouterr().err
