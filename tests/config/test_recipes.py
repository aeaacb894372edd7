"""Recipes by name: where they are found, parts that do not go together, how one is trained."""

import pytest

from pal_plugin.config.recipes import find_recipe, find_recipes, recipe_names, train_command
from pal_plugin.config.run_config import load_config
from pal_plugin.config.run_files import read_run_files
from pal_plugin.utils.errors import ConfigError


@pytest.fixture(autouse=True)
def data_folder(monkeypatch):
    monkeypatch.setenv("PAL_DATA", "data")


def test_every_name_is_found():
    for name in recipe_names():
        assert find_recipe(name).as_posix().endswith(f"pal/{name}.yaml")
    assert find_recipe("qwen2.5_1.5b") == find_recipe("common/qwen2.5_1.5b")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["stage1", "llama3.2_2b", "lal"], r"no recipe 'llama3.2_2b'.*'llama3.2_3b'"),
        (["stage1", "llama3.2_1b", "lal_delay"], "no recipe 'lal_delay'.*'lal_delayed'"),
        (["lal_stage4"], "no recipe 'lal_stage4'.*'lal_stage3'"),
        (["stage1", "stage2", "llama3.2_1b", "lal"], "expected one stage .* stage1 and stage2"),
        (["stage1", "llama3.2_1b", "qwen2.5_1.5b"], "one LLM .* llama3.2_1b and qwen2.5_1.5b"),
        (["lal", "stage1", "pal"], "one variant .* lal and pal"),
    ],
)
def test_mistakes_in_names(names, says):
    with pytest.raises(ConfigError, match=says):
        find_recipes(names)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["stage1", "lal"], r"data\.llm: must be given; add one of llama3.2_1b, .*qwen2.5_1.5b"),
        (["stage1", "llama3.2_1b"], r"data\.variant: must be given; .*lal_delayed"),
        (["llama3.2_1b", "lal"], r"model\.arch: expected a value.*stage1, stage2, stage3"),
    ],
)
def test_a_part_that_was_left_out_is_named(names, says):
    with pytest.raises(ConfigError, match=says):
        load_config(find_recipes(names))


def test_a_file_of_ones_own_comes_behind_the_parts(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("data: {llm: mine}\nrun: {name: mine, init_lr: 0.5}\n")
    cfg = load_config(find_recipes(["stage1", "llama3.2_1b", "lal", str(own)]))
    assert (cfg.run_cfg.name, cfg.run_cfg.init_lr, cfg.config.data.llm) == ("mine", 0.5, "mine")


def test_what_is_left_to_be_given_replaces_nothing(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("data: {x: 1, y: {z: 2}}\n")
    second.write_text('data: {x: "???", y: {z: "???", new: "???"}}\n')
    expected = {"data": {"x": 1, "y": {"z": 2, "new": "???"}}}
    assert read_run_files([first, second]) == read_run_files([second, first]) == expected


@pytest.mark.parametrize(
    ("recipe", "command"),
    [
        ("lal_stage1", "pal train lal_stage1"),
        ("llama3.2_1b_lal_stage1", "pal train stage1 llama3.2_1b lal"),
        ("mini_lal", "pal train mini/lal"),
        ("lal_stage1+mine", "pal train lal_stage1 mine.yaml"),
        ("my_run", "pal train my_run.yaml"),
    ],
)
def test_what_trains_a_recipe(recipe, command):
    assert train_command(recipe) == command
