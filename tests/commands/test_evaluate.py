"""`pal evaluate` and evaluate.py from end to end, with the toy model and real shards."""

import json

import cli
import pytest
import yaml


def run_dirs(toy):
    return sorted(p for p in (toy.folder / "output").iterdir() if p.is_dir())


def test_evaluate_finds_the_newest_run_and_repeats_its_figures(toy):
    assert cli.train(["--cfg-path", str(toy.recipe)]) == 0
    (trained,) = run_dirs(toy)
    assert cli.evaluate(["--cfg-path", str(toy.recipe)]) == 0
    (evaluated,) = [p for p in run_dirs(toy) if p != trained]
    assert evaluated.name.startswith("eval-toy_recipe-")
    assert json.loads((evaluated / "metrics.json").read_text()) == json.loads(
        (trained / "metrics.json").read_text()
    )
    assert not list(evaluated.glob("checkpoint*"))


def test_evaluate_builds_the_model_that_was_trained(toy):
    large = ["--options", "model.model_type=large", "--job-id", "big"]
    assert cli.train(["--cfg-path", str(toy.recipe), *large]) == 0
    checkpoint = toy.folder / "output" / "big"
    options = ["--options", f"model.checkpoint={checkpoint}", "--job-id", "look"]
    assert cli.evaluate(["--cfg-path", str(toy.recipe), *options]) == 0
    config = yaml.safe_load((toy.folder / "output" / "look" / "config.yaml").read_text())
    assert config["model"]["model_type"] == "large"
    assert config["model"]["width"] == 16


@pytest.mark.parametrize("options", [[], ["--options", "model.checkpoint=latest:toy_recipe"]])
def test_evaluating_without_a_trained_model_says_how_to_train_one(toy, capsys, options):
    assert cli.evaluate(["--cfg-path", str(toy.recipe), *options]) == 2
    assert "pal train" in capsys.readouterr().err
