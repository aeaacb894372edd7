"""`pal train` and train.py from end to end, with the toy model and real shards."""

import json

import cli
import pytest
import yaml

CHECKPOINT = ("model.safetensors", "model.json", "optimizer.safetensors", "state.json")


def run_dirs(toy):
    return sorted(p for p in (toy.folder / "output").iterdir() if p.is_dir())


def test_training_leaves_a_whole_run_folder(toy, caplog):
    caplog.set_level("INFO")
    assert (
        cli.train(
            ["--cfg-path", str(toy.recipe), "--options", "run.max_epoch=6", "run.pictures=true"]
        )
        == 0
    )
    (run,) = run_dirs(toy)
    assert run.name.startswith("toy_recipe-")
    files = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert files == {
        ".lock",
        "config.yaml",
        "log.txt",
        "metrics.json",
        "evaluation.json",
        "curves.png",
        "result/val.jsonl",
        "result/val.classification.confusion.png",
        "result/val.classification.confusion_masked.png",
        "report.html",
        "result/clips.jsonl",
        *(f"result/clips/{n}-0.ogg" for n in range(8)),
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
