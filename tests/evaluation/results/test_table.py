"""Tables in Markdown and CSV: values, intervals, and the settings that differ."""

import csv
import io

import pytest

from pal_plugin.commands.main import main as pal
from pal_plugin.evaluation.metrics.bootstrap import paired_interval, ratio_interval

from .conftest import MASKED, RIGHT, table


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
