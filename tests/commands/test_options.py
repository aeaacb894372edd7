"""What the commands have in common: recipes by name or path, changes to them, a run's name."""

import argparse

import pytest

from pal_plugin.commands import options
from pal_plugin.utils.errors import ConfigError


def parsed(*argv):
    parser = argparse.ArgumentParser()
    options.add_recipe(parser)
    options.add_job_id(parser)
    return parser.parse_args(argv)


def test_recipes_may_be_named_in_either_way_and_are_merged_in_their_order(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("run: {seed: 5}")
    args = parsed("lal_stage1", "--cfg-path", str(mine), "--options", "run.seed=6")
    assert [path.name for path in options.recipe_files(args)] == ["lal_stage1.yaml", "mine.yaml"]
    load = options.loader(args)
    assert load().run_cfg.seed == 6
    args.options = []
    assert options.loader(args)().run_cfg.seed == 5


def test_without_a_recipe_an_example_is_given():
    with pytest.raises(ConfigError, match="no recipe given; for example: pal train"):
        options.recipe_files(parsed())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/tmp/x"])
def test_a_runs_name_is_that_of_one_folder(name, capsys):
    assert parsed("--job-id", "mine").job_id == "mine"
    with pytest.raises(SystemExit):
        parsed("--job-id", name)
    assert f"{name!r} is not the name of a single folder" in capsys.readouterr().err
