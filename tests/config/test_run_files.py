"""`base:` of a run file: what it is based on, in which order, and what goes wrong."""

import pytest
import yaml

from pal_plugin.config.run_files import read_run_file
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    def make(**files):
        for name, content in files.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return tmp_path / f"{name}.yaml"

    return make


def test_bases_come_in_order_and_the_file_last(write):
    run = write(
        a={"run": {"x": 1, "y": 1, "z": 1, "list": [1, 2]}},
        b={"base": "a.yaml", "run": {"y": 2, "list": [3]}},
        c={"run": {"z": 3}, "data": {"k": "v"}},
        run={"base": ["b.yaml", "c.yaml"], "run": {"w": 4}},
    )
    assert read_run_file(run) == {
        "run": {"x": 1, "y": 2, "z": 3, "list": [3], "w": 4},
        "data": {"k": "v"},
    }


def test_names_are_relative_to_the_file_that_names_them(tmp_path, write):
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "common" / "b.yaml").write_text("run: {x: 1}\n")
    assert read_run_file(write(run={"base": "common/a.yaml"})) == {"run": {"x": 1}}


def test_null_takes_an_entry_out_and_two_ways_to_one_file_are_no_circle(write):
    run = write(
        top={"model": {"encoders": {"a": {"type": "x"}, "b": {"type": "y"}}}},
        left={"base": "top.yaml", "model": {"encoders": {"a": None}}},
        run={"base": ["top.yaml", "left.yaml"]},
    )
    # The second way brings `a` back and takes it out again.
    assert read_run_file(run)["model"]["encoders"] == {"a": None, "b": {"type": "y"}}


def test_a_circle_is_named(write):
    run = write(a={"base": "b.yaml"}, b={"base": "a.yaml"}, run={"base": "a.yaml"})
    with pytest.raises(ConfigError, match=r"form a cycle: a\.yaml -> b\.yaml -> a\.yaml"):
        read_run_file(run)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "base: lall.yaml",
            r"base of .*run\.yaml: no configuration file .*Did you mean 'lal.yaml'",
        ),
        ("base: 3", r"base in .*run\.yaml is 3; expected a file name or a list of them"),
        ("base: [lal.yaml, {a: 1}]", "expected a file name or a list of them"),
        ("[1, 2]", "expected a map"),
    ],
)
def test_mistakes(write, content, says):
    with pytest.raises(ConfigError, match=says):
        read_run_file(write(lal={}, run=content))


def test_a_recipe_may_be_based_on_another(toy):
    child = toy.folder / "child.yaml"
    child.write_text(f"base: {toy.recipe.name}\nrun: {{max_epoch: 5}}\n")
    from pal_plugin.config.run_config import load_config

    cfg = load_config(child)
    assert (cfg.run_cfg.max_epoch, cfg.run_cfg.batch_size_train) == (5, 4)
    assert cfg.run_cfg.name == "child"
    child.write_text(f"base: {toy.recipe.name}\nrun: {{max_epok: 5}}\n")
    with pytest.raises(ConfigError, match=r"run\.max_epok: unknown key .*'max_epoch'"):
        load_config(child)
