"""The picture of a run is made of its log: resumed steps once, a line per task and masked pass."""

import json
import sys

import pytest

from pal_plugin.training.curves import CURVES, pictures, plot_curves, read_log
from pal_plugin.training.metric_logger import LOG


def step(number: int, loss: float) -> dict:
    facts = {"kind": "train_step", "global_step": number, "loss": loss, "batch_loss": loss}
    return {**facts, "recent_loss": loss}


def evaluation(accuracy: float) -> dict:
    both = {"accuracy": accuracy, "accuracy_masked_audio": 0.1, "accuracy_said": accuracy / 2}
    part = {"accuracy": accuracy, "n": 3}
    entries = {"classification": {**both, "n": 9}, "classification/esc": part}
    return {"kind": "val", "epoch": 0, "agg_metrics": accuracy, **entries}


LINES = [
    *(step(20, 3.0), step(40, 2.0), evaluation(0.5)),
    *(step(60, 9.0), {"kind": "train", "epoch": 1, "loss": 1.5}),
    *(step(60, 1.0), evaluation(0.75)),  # resumed from step 40
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / LOG).write_text("".join(json.dumps(line) + "\n" for line in LINES) + '{"kind"')
    return tmp_path


def test_steps_count_once_and_evaluations_stand_at_their_steps(folder):
    steps, evaluations = read_log(folder)
    assert [(line["global_step"], line["loss"]) for line in steps] == [(20, 3), (40, 2), (60, 1)]
    assert [(at, split) for at, split, _ in evaluations] == [(40, "val"), (60, "val")]
    assert [of["classification"]["accuracy"] for *_, of in evaluations] == [0.5, 0.75]


def test_the_picture_has_the_loss_and_the_figures(folder, monkeypatch):
    figure_module = pytest.importorskip("matplotlib.figure")
    drawn = []
    save = figure_module.Figure.savefig

    def kept(figure, *arguments, **options):
        drawn.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(figure_module.Figure, "savefig", kept)
    assert plot_curves(folder).read_bytes()[:4] == b"\x89PNG"
    loss, figures = drawn[0].axes
    assert list(loss.lines[1].get_xdata()) == [20, 40, 60]
    assert list(loss.lines[1].get_ydata()) == [3, 2, 1]
    lines = {line.get_label(): list(line.get_ydata()) for line in figures.lines}
    assert lines == {
        "val classification accuracy": [0.5, 0.75],
        "val classification accuracy, audio masked": [0.1, 0.1],
        "val classification accuracy, said": [0.25, 0.375],
    }


def test_what_the_evaluation_drew_is_found_too(folder):
    pytest.importorskip("matplotlib")
    (folder / "result").mkdir()
    (folder / "result" / "val.confusion.png").touch()
    assert [path.name for path in pictures(folder)] == [CURVES, "val.confusion.png"]


def test_an_evaluation_alone_has_no_curves(tmp_path):
    (tmp_path / LOG).write_text(json.dumps(evaluation(0.5)) + "\n")
    assert plot_curves(tmp_path) is None


def test_without_matplotlib_a_word_says_how(folder, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with caplog.at_level("INFO"):
        assert pictures(folder) == []
    assert "skipping curves.png: pictures need matplotlib: pip install" in caplog.text
