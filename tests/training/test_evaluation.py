"""An evaluation of the toy model: interrupted and gone on with, described so that it can be
repeated, and with masked audio on request."""

import hashlib
import json
import logging
import os

import cli
import pytest
import torch
from toys import ToyListener

from pal_plugin.commands.main import main as pal
from pal_plugin.tasks.instruct import InstructTask


@pytest.fixture
def trained(toy):
    options = ["--options", "run.max_epoch=1", "--job-id", "trained"]
    assert cli.train(["--cfg-path", str(toy.recipe), *options]) == 0
    return toy.folder / "output" / "trained"


def evaluate(toy, name, *options, flags=()):
    arguments = ["--cfg-path", str(toy.recipe), "--job-id", name, *flags]
    return cli.evaluate([*arguments, *(["--options", *options] if options else [])])


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def fail_after(monkeypatch, batches):
    """Let `valid_step` end the process's work after so many batches, as Ctrl-C would."""
    whole, seen = InstructTask.valid_step, []

    def step(self, model, samples):
        if len(seen) == batches:
            raise KeyboardInterrupt
        seen.append(len(samples["text_input"]))
        return whole(self, model, samples)

    monkeypatch.setattr(InstructTask, "valid_step", step)
    return seen


def test_an_interrupted_evaluation_goes_on_and_ends_as_a_whole_one(
    toy, trained, monkeypatch, capsys, caplog
):
    caplog.set_level(logging.INFO)
    assert evaluate(toy, "whole") == 0
    output = toy.folder / "output"
    with monkeypatch.context() as patch:
        seen = fail_after(patch, 2)
        assert evaluate(toy, "halves") == 130
        assert len(seen) == 2
    partial = output / "halves" / "result" / "val.partial.jsonl"
    assert len(lines(partial)) == 1 + sum(seen)
    assert not (output / "halves" / "metrics.json").exists()
    assert pal(["results", str(output / "halves")]) == 2
    assert "--job-id halves" in capsys.readouterr().err
    with partial.open("a") as file:
        file.write('{"id": "half a li')
    with monkeypatch.context() as patch:
        rest = fail_after(patch, 99)
        assert evaluate(toy, "halves") == 0
    assert 0 < sum(rest) == 24 - sum(seen)
    assert not partial.exists()
    results = [output / name / "result" / "val.jsonl" for name in ("whole", "halves")]
    assert lines(results[0]) == lines(results[1])
    metrics = [(output / name / "metrics.json").read_text() for name in ("whole", "halves")]
    assert metrics[0] == metrics[1]
    assert "resuming after" in caplog.text
    assert evaluate(toy, "halves") == 2  # it is done: nothing is overwritten


def test_an_interrupted_evaluation_samples_as_a_whole_one(toy, trained, monkeypatch):
    def sampled(self, samples, max_new_tokens=32, do_sample=False):
        assert do_sample
        drawn = torch.multinomial(torch.ones(len(samples["text_input"]), 1000), 1)
        return [str(number) for number in drawn.flatten().tolist()]

    for method in ("generate", "predict_answers"):
        monkeypatch.setattr(ToyListener, method, sampled)
    sampling = ("run.generation.do_sample=true", "run.caption_examples=3")
    assert evaluate(toy, "whole", *sampling) == 0
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        assert evaluate(toy, "halves", *sampling) == 130
    assert evaluate(toy, "halves", *sampling, "run.batch_size_eval=2") == 0
    output = toy.folder / "output"
    whole, halves = (lines(output / n / "result" / "val.jsonl") for n in ("whole", "halves"))
    assert whole == halves
    assert len({row["prediction"] for row in whole if row["task"] == "qa"}) > 6


def test_going_on_under_other_settings_is_refused(toy, trained, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        assert evaluate(toy, "halves") == 130
    assert evaluate(toy, "halves", "run.max_new_tokens=5") == 2
    assert "run.max_new_tokens" in capsys.readouterr().err
    assert evaluate(toy, "halves", "run.batch_size_eval=2") == 0  # changes no answer


def test_going_on_with_other_files_of_the_same_names_is_refused(toy, trained, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        fail_after(patch, 1)
        assert evaluate(toy, "halves") == 130
    shard = toy.shards / "val-1.tar"
    before = shard.stat().st_mtime_ns
    os.utime(shard, ns=(1, 1))
    assert evaluate(toy, "halves") == 2
    assert "val-1.tar.modified_ns" in capsys.readouterr().err
    os.utime(shard, ns=(before, before))
    assert evaluate(toy, "halves") == 0


def test_evaluation_json_says_what_is_needed_to_repeat_it(toy, trained):
    assert evaluate(toy, "look", "run.generation.num_beams=null", "run.pictures=true") == 0
    told = json.loads((toy.folder / "output" / "look" / "evaluation.json").read_text())["val"]
    origin = told["provenance"]
    checkpoint = trained / "checkpoint_best.safetensors"
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert origin["checkpoint"] == {"path": str(checkpoint), "sha256": digest}
    assert origin["versions"].keys() >= {"pal_plugin", "torch", "transformers", "python"}
    assert origin["seed"] == 42
    assert origin["generation"]["max_new_tokens"] == 32
    assert origin["rows"] == 24
    assert origin["clips"] == {"in the datasets": 8, "answered": 8, "left out": 0}
    assert origin["left out"] == []
    assert origin["questions"]["qa"] == {
        "wordings": 1,
        "most frequent": {"Is it low or high?": 8},
    }
    assert "likelihood" in told["figures"]["classification"]["how"]["accuracy"]
    assert told["files missing"] == {}
    pictures = sorted(p.name for p in (toy.folder / "output" / "look" / "result").glob("*.png"))
    assert pictures == [
        "val.classification.confusion.png",
        "val.classification.confusion_masked.png",
    ]
    trained_told = json.loads((trained / "evaluation.json").read_text())["val"]["provenance"]
    assert trained_told["checkpoint"]["sha256"] == digest
    assert trained_told["rows_sha256"] == origin["rows_sha256"]


def test_mask_audio_asks_twice_whatever_the_recipe_says(toy, trained):
    quiet = toy.folder / "quiet.yaml"
    quiet.write_text(toy.recipe.read_text().replace("run: {", "run: {masked_audio: false, "))
    base = ["--cfg-path", str(quiet), "--options", f"model.checkpoint={trained}"]
    for name, flags in (("without", []), ("with", ["--mask-audio"])):
        assert cli.evaluate([*base, *flags, "--job-id", name]) == 0
    entries = [
        json.loads((toy.folder / "output" / name / "metrics.json").read_text())["val"]
        for name in ("without", "with")
    ]
    assert "accuracy_masked_audio" not in entries[0]["classification"]
    assert "accuracy_masked_audio" in entries[1]["classification"]


def test_a_mistake_in_the_settings_is_named(toy, trained, capsys):
    assert evaluate(toy, "a", "run.evaluation.caption.score=true") == 2
    assert "'scores'" in capsys.readouterr().err
    assert evaluate(toy, "b", "run.evaluation.classification.by=ranked") == 2
    assert "likelihood" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../evil", "/evil", ".", "a/b"])
def test_a_run_stays_in_the_output_folder(toy, name, capsys):
    with pytest.raises(SystemExit):
        cli.train(["--cfg-path", str(toy.recipe), "--job-id", name])
    assert "not the name of a single folder" in capsys.readouterr().err
