"""train.py and evaluate.py from end to end, with the toy model and real shards."""

import json

import cli
import pytest
import yaml

from pal_plugin.training import launch

CHECKPOINT = ("model.safetensors", "model.json", "optimizer.safetensors", "state.json")


def run_dirs(toy):
    return sorted(p for p in (toy.folder / "output").iterdir() if p.is_dir())


def test_training_leaves_a_whole_run_folder(toy, caplog):
    caplog.set_level("INFO")
    assert cli.train(["--cfg-path", str(toy.recipe), "--options", "run.max_epoch=6"]) == 0
    (run,) = run_dirs(toy)
    assert run.name.startswith("toy_recipe-")
    files = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert files == {
        ".lock",
        "config.yaml",
        "log.txt",
        "metrics.json",
        "evaluation.json",
        "result/val.jsonl",
        "samples.val.html",
        "finished.json",
        *(f"checkpoints/step-{step:08}/{file}" for step in (15, 18) for file in CHECKPOINT),
        "checkpoint_best.safetensors",
        "checkpoint_best.json",
        "checkpoint_last.safetensors",
        "checkpoint_last.json",
    }
    metrics = json.loads((run / "metrics.json").read_text())["val"]
    assert metrics["classification"]["accuracy"] == 1.0
    assert metrics["classification"]["accuracy_masked_audio"] == 0.5  # one answer for all
    assert metrics["classification"]["chance"] == 0.5
    assert metrics["classification"]["n"] == 8
    assert metrics["caption"]["loss"] < metrics["caption"]["loss_masked_audio"]
    lines = [json.loads(line) for line in (run / "log.txt").read_text().splitlines()]
    assert {line["kind"] for line in lines} == {"train", "train_step", "val"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["run"]["max_epoch"] == 6
    assert config["model"]["width"] == 4
    encoders = config["datasets"]["toy_tones"]["audio_processor"]["eval"]["encoders"]
    assert encoders == config["model"]["encoders"]
    rows = [json.loads(line) for line in (run / "result" / "val.jsonl").read_text().splitlines()]
    assert len(rows) == 24  # 8 clips, 3 questions each
    assert {"id", "question", "reference", "prediction", "prediction_masked"} <= rows[0].keys()
    assert "toy table" in caplog.text
    assert "masked audio" in caplog.text


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


def test_user_errors_have_no_traceback(toy, capsys):
    assert cli.train(["--cfg-path", str(toy.recipe), "--options", "run.ini_lr=1"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "run.ini_lr" in error
    assert "init_lr" in error
    assert "Traceback" not in error


def test_an_explicit_job_id_is_not_overwritten(toy, capsys):
    arguments = ["--cfg-path", str(toy.recipe), "--job-id", "mine", "--options", "run.max_epoch=1"]
    assert cli.train(arguments) == 0
    before = (toy.folder / "output" / "mine" / "metrics.json").read_text()
    assert cli.train(arguments) == 2
    assert "mine" in capsys.readouterr().err
    assert (toy.folder / "output" / "mine" / "metrics.json").read_text() == before


def test_help_teaches_by_examples(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.train(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "pal train lal_stage1 --options" in text
    assert "latest:lal_stage1" in text


def test_threads_are_left_alone_unless_asked(monkeypatch):
    asked = []
    monkeypatch.setattr(launch.torch, "set_num_threads", asked.append)
    monkeypatch.setattr(launch, "usable_cores", lambda: 8)
    launch.set_threads(None, 2)
    assert asked == []
    launch.set_threads("auto", 2)
    launch.set_threads("auto", 20)
    launch.set_threads(3, 2)
    launch.set_threads(2.0, 2)
    assert asked == [6, 1, 3, 2]
    assert type(asked[-1]) is int
