"""Which trainings there are, what is skipped, resumed and refused."""

import json
import sys

import pytest

from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.utils.errors import ConfigError

OPTIONS = ["run.log_freq=10"]
#: Waits to be told to stop, or ends well where the folder holds `go`.
FAKE = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
folder = pathlib.Path(sys.argv[1])
folder.mkdir(exist_ok=True)
while not (folder / "go").exists():
    time.sleep(0.02)
(folder / "finished.json").write_text("{}")
sys.exit(int((folder / "go").read_text()))
"""


@pytest.fixture
def runs(module, monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_DATA", str(tmp_path))
    loaded = module("evidence.runs")
    monkeypatch.setattr(loaded, "keep", lambda run: f"{run.folder.name} kept")
    return loaded


@pytest.fixture
def plan(module, tmp_path):
    """`plan(types, seeds)`: of run folders in `tmp_path`."""
    return lambda *asked: module("evidence.planned").plan(tmp_path, *asked, tmp_path / "kept")


@pytest.fixture
def started(runs, module, monkeypatch):
    """Run `FAKE` in place of trainings; a list of those that were started."""
    names = []

    def command(run, options):
        names.append(run.folder.name)
        return [sys.executable, "-S", "-c", FAKE, str(run.folder), "--job-id", run.folder.name]

    monkeypatch.setattr(module("evidence.planned").Planned, "command", command)
    return names


def begin(runs, run):
    """The folder of a run as `pal train` leaves it at its start."""
    run.folder.mkdir(parents=True, exist_ok=True)
    config = load_config(find_recipes(runs.recipe(run.kind)), run.options(OPTIONS))
    config.save(run.folder / "config.yaml")


@pytest.mark.slow
def test_what_is_interrupted_goes_on_and_what_is_finished_is_skipped(runs, started, plan, capsys):
    first, second = planned = plan(["plits", "lal"], [0])
    assert runs.train_all(planned, OPTIONS, hours=0.3 / 3600) == 75
    assert "still to do: plits-seed0, lal-seed0" in capsys.readouterr().out
    for run in planned:
        begin(runs, run)
        (run.folder / "go").write_text("0")
    line = {"kind": "train_step", "global_step": 600, "recent_loss": 1.0, "seconds": 90.0}
    (first.folder / "log.txt").write_text(json.dumps(line) + "\n{half a li")
    assert runs.train_all(planned, OPTIONS) == 0
    out = capsys.readouterr().out
    assert "plits-seed0: run 1 of 2, ETA ?" in out
    assert "lal-seed0: run 2 of 2, ETA 1:30" in out
    assert "kept: lal-seed0 kept" in out
    assert started == ["plits-seed0", "plits-seed0", "lal-seed0"]
    assert runs.train_all(planned, OPTIONS) == 0
    assert "lal-seed0: finished before" in capsys.readouterr().out
    assert len(started) == 3
    (second.folder / "finished.json").unlink()
    assert runs.train_all(planned, OPTIONS, hours=0) == 75  # nothing begins
    assert len(started) == 3


def test_a_training_that_fails_ends_it(runs, started, plan, capsys):
    planned = plan(["plits", "lal"], [0])
    planned[0].folder.mkdir()
    (planned[0].folder / "go").write_text("3")
    assert runs.train_all(planned, OPTIONS) == 3
    assert "plits-seed0 ended with exit code 3" in capsys.readouterr().err
    assert started == ["plits-seed0"]


@pytest.mark.parametrize(
    ("changed", "told", "finished"),
    [
        ("run.init_lr=0.5", "run.init_lr: was 0.001, now 0.5", False),
        ("run.evaluation.classification.said=false", "said: True then, False now", True),
    ],
)
def test_other_settings_are_refused_before_anything_is_trained(
    runs, started, plan, changed, told, finished
):
    planned = plan(["plits", "lal"], [0])
    begin(runs, planned[1])
    if finished:
        (planned[1].folder / "finished.json").write_text("{}")
    with pytest.raises(ConfigError, match=told):
        runs.train_all(planned, [*OPTIONS, changed])
    assert started == []
