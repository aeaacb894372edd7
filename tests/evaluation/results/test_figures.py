"""Figures and intervals from the rows."""

import pytest

from pal_plugin.evaluation.results.figures import figures_of
from pal_plugin.evaluation.results.read import read_run

from .conftest import table, write


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
