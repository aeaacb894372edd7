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
    return module("evidence.runs")


@pytest.fixture
def started(runs, monkeypatch):
    """Run `FAKE` in place of trainings; a list of those that were started."""
    names = []

    def command(run, options):
        names.append(run.folder.name)
        return [sys.executable, "-S", "-c", FAKE, str(run.folder), "--job-id", run.folder.name]

    monkeypatch.setattr(runs.Planned, "command", command)
    return names


def begin(runs, run):
    """The folder of a run as `pal train` leaves it at its start."""
    run.folder.mkdir(parents=True, exist_ok=True)
    config = load_config(find_recipes(runs.recipe(run.kind)), run.options(OPTIONS))
    config.save(run.folder / "config.yaml")


def test_the_plan_is_seed_by_seed(runs, tmp_path):
    names = [run.folder.name for run in runs.plan(tmp_path)]
    assert names[:5] == [f"{kind}-seed0" for kind in ("plits", "lal", "pal", "both", "flamingo")]
    assert names[5:] == [f"{kind}-seed{n}" for n in (1, 2) for kind in ("plits", "lal", "both")]
    asked = runs.plan(tmp_path, ["pal", "lal"], [4, 3])
    assert [run.folder.name for run in asked] == [
        "pal-seed3",
        "lal-seed3",
        "pal-seed4",
        "lal-seed4",
    ]
    for name in ("lal-seed7", "lal-seed1.old", "other-seed3"):
        (tmp_path / name).mkdir()
    assert runs.seeds_in(tmp_path) == [7]


def test_the_command_is_the_product_s_own(runs, tmp_path):
    (run,) = runs.plan(tmp_path, ["both"], [2])
    command = run.command(["run.log_freq=5"])
    assert command[1:6] == ["-m", "pal_plugin", "train", "small/both", "small/evidence"]
    assert command[6:10] == ["--job-id", "both-seed2", "--resume", "auto"]
    assert command[10:] == [
        "--options",
        "run.seed=2",
        f"run.output_dir={tmp_path}",
        "run.log_freq=5",
    ]


@pytest.mark.slow
def test_what_is_interrupted_goes_on_and_what_is_finished_is_skipped(
    runs, started, tmp_path, capsys
):
    first, second = planned = runs.plan(tmp_path, ["plits", "lal"], [0])
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
    assert started == ["plits-seed0", "plits-seed0", "lal-seed0"]
    assert runs.train_all(planned, OPTIONS) == 0
    assert "lal-seed0: finished before" in capsys.readouterr().out
    assert len(started) == 3
    (second.folder / "finished.json").unlink()
    assert runs.train_all(planned, OPTIONS, hours=0) == 75  # nothing begins
    assert len(started) == 3


def test_a_training_that_fails_ends_it(runs, started, tmp_path, capsys):
    planned = runs.plan(tmp_path, ["plits", "lal"], [0])
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
    runs, started, tmp_path, changed, told, finished
):
    planned = runs.plan(tmp_path, ["plits", "lal"], [0])
    begin(runs, planned[1])
    if finished:
        (planned[1].folder / "finished.json").write_text("{}")
    with pytest.raises(ConfigError, match=told):
        runs.train_all(planned, [*OPTIONS, changed])
    assert started == []


def test_the_recipe_is_the_same_for_all_types_but_for_the_routes(runs, tmp_path):
    sections = {}
    for run in runs.plan(tmp_path, None, [0]):
        config = load_config(find_recipes(runs.recipe(run.kind)), OPTIONS).to_dict()
        assert config["run"]["steps_per_epoch"] == 300
        assert config["run"]["max_epoch"] == 1
        assert config["run"]["evaluation"]["classification"]["said"] is True
        assert config["datasets"].keys() == {"pal_mini", "pal_spoken"}
        del config["model"]["routing"], config["model"]["model_type"], config["run"]["name"]
        sections[run.kind] = config
    assert len(sections) == 5
    assert all(section == sections["plits"] for section in sections.values())
