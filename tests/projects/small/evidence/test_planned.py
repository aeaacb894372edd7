"""Which trainings are wanted, and the commands that make them."""

import pytest

from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config

OPTIONS = ["model.checkpoint=null"]


@pytest.fixture
def planned(module, monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_DATA", str(tmp_path))
    return module("evidence.planned")


def test_the_plan_is_seed_by_seed(planned, tmp_path):
    names = [run.folder.name for run in planned.plan(tmp_path)]
    assert names[:5] == [f"{kind}-seed0" for kind in ("plits", "lal", "pal", "both", "flamingo")]
    assert names[5:] == [f"{kind}-seed{n}" for n in (1, 2) for kind in ("plits", "lal", "both")]
    asked = planned.plan(tmp_path, ["pal", "lal"], [4, 3])
    assert [run.folder.name for run in asked] == [
        "pal-seed3",
        "lal-seed3",
        "pal-seed4",
        "lal-seed4",
    ]
    for name in ("lal-seed7", "lal-seed1.old", "other-seed3"):
        (tmp_path / name).mkdir()
    assert planned.seeds_in(tmp_path) == [7]


def test_the_command_is_the_product_s_own(planned, tmp_path):
    (run,) = planned.plan(tmp_path, ["both"], [2])
    command = run.command(["run.log_freq=5"])
    assert command[1:6] == ["-m", "pal_plugin", "train", "small/both", "small/evidence"]
    assert command[6:10] == ["--job-id", "both-seed2", "--resume", "auto"]
    assert command[10:] == [
        "--options",
        "run.seed=2",
        f"run.output_dir={tmp_path}",
        "run.log_freq=5",
    ]


def test_the_recipe_is_the_same_for_all_types_but_for_the_routes(planned, tmp_path):
    sections = {}
    for run in planned.plan(tmp_path, None, [0]):
        config = load_config(find_recipes(planned.recipe(run.kind)), OPTIONS).to_dict()
        assert config["run"]["steps_per_epoch"] == 300
        assert config["run"]["max_epoch"] == 1
        assert config["run"]["evaluation"]["classification"]["said"] is True
        assert config["datasets"].keys() == {"pal_mini", "pal_spoken"}
        del config["model"]["routing"], config["model"]["model_type"], config["run"]["name"]
        sections[run.kind] = config
    assert len(sections) == 5
    assert all(section == sections["plits"] for section in sections.values())
