"""`python -m pal_plugin.pretraining`: a recipe, changes to it, and what is told at the end."""

import json
import sys

import pytest

from pal_plugin.pretraining import __main__ as command
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(*argv)` -> what the recipe's function was given, and what was printed."""
    calls = []

    def pretrain(out, **settings):
        calls.append((out, settings))
        return {"loss": 0.5}

    monkeypatch.setitem(command.RECIPES, "llm", pretrain)

    def start(*argv):
        monkeypatch.setattr(sys, "argv", ["pretraining", *map(str, argv)])
        command.main()
        return calls[-1], json.loads(capsys.readouterr().out)

    return start


def test_a_recipe_is_started_with_its_settings_and_changes(run, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"recipe: llm\nout: {tmp_path / 'out'}\nsteps: 9\nlr: 0.1\n")
    (out, settings), told = run(recipe, "--options", "steps=2")
    assert out == tmp_path / "out"
    assert settings == {"steps": 2, "lr": 0.1}
    assert (told["recipe"], told["result"]) == ("llm", {"loss": 0.5})
    (_, settings), _ = run("pocket/llm")
    assert settings["steps"] > 2


def test_a_recipe_that_is_not_there_is_named(run):
    with pytest.raises(ConfigError, match="pocket/lm"):
        run("pocket/lm")
