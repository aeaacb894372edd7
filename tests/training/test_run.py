"""runner_pal against the traps of LAVIS's run, in one process on the CPU."""

import json
import logging

import pytest
import torch

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.training import metric_logger
from pal_plugin.training.faults import NonFiniteLossError
from pal_plugin.training.run import Run
from pal_plugin.utils.errors import ConfigError, Interrupted, Preempted


def make_run(cfg, task_class=InstructTask, job_id=None):
    torch.manual_seed(0)
    task = task_class.setup_task(cfg)
    return Run(cfg, task, task.build_model(cfg), task.build_datasets(cfg), job_id)


@pytest.mark.parametrize("none", ["[]", "null"])
def test_without_validation_the_last_is_the_best(toy, none):
    run = make_run(toy.config(f"run.valid_splits={none}", "run.test_splits=[val]"))
    metrics = run.train()
    assert (run.folder.path / "checkpoint_best.safetensors").is_file()
    assert set(metrics) == {"val"}


def test_the_encoders_run_once_per_batch_of_evaluation(toy):
    run = make_run(toy.config())
    run.place.model.calls.clear()
    run.evaluate()
    # Shards of 4 clips in batches of 3 clips: 3 batches, whatever is asked about them.
    assert run.place.model.calls.count("encode_audio") == 3
    assert ("predict_class", ("low", "high")) in run.place.model.calls


def test_an_unknown_split_is_named_with_the_known_ones(toy):
    with pytest.raises(ConfigError, match=r"'test'.*train, val"):
        make_run(toy.config("run.test_splits=[test]"))


def test_a_loss_that_is_not_finite_names_the_samples(toy):
    run = make_run(toy.config())
    with torch.no_grad():
        run.place.model.head.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"train-\d-\d#\d"):
        run.train()


def test_checkpoints_to_keep_are_one_or_more(toy):
    with pytest.raises(ConfigError, match=r"run\.keep_checkpoints is 0"):
        make_run(toy.config("run.keep_checkpoints=0")).train()


def test_two_runs_of_one_seed_are_equal_whatever_the_workers(toy):
    losses = []
    for workers in (0, 1, 2):
        run = make_run(toy.config(f"run.num_workers={workers}", "run.shard_streams=2"))
        run.train()
        log = (run.folder.path / "log.txt").read_text().splitlines()
        losses.append([json.loads(x)["loss"] for x in log if '"train"' in x])
    assert losses[0] == losses[1] == losses[2]


def test_progress_is_logged_where_there_is_no_terminal(toy, caplog):
    caplog.set_level(logging.INFO)
    make_run(toy.config("run.max_epoch=1")).train()
    assert "step 2/3" in caplog.text
    assert "clips/s" in caplog.text
    assert "ETA" in caplog.text


@pytest.mark.parametrize(
    "options",
    [
        ["run.train_dataset_ratios={gone: 1}"],
        ["run.lr_scale.encoders=0.1"],
        ["run.amp=fp16", "run.device=cpu"],
        ["run.wandb=mine"],
        ["run.device=nonesuch"],
    ],
    ids=lambda options: options[0],
)
def test_what_cannot_be_run_leaves_no_folder(toy, options, monkeypatch):
    monkeypatch.setattr(metric_logger.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError):
        make_run(toy.config(*options)).train()
    assert not (toy.folder / "output").exists()


def test_no_epoch_is_the_model_as_it_is_and_that_is_said(toy, caplog):
    run = make_run(toy.config("run.max_epoch=0"))
    before = run.place.model.head.weight.clone()
    metrics = run.train()
    assert "run.max_epoch is 0: evaluating the untrained model" in caplog.text
    assert metrics["val"]["classification"]["n"] == 8
    assert torch.equal(run.place.model.head.weight, before)
    assert not (run.folder.path / "checkpoint_best.safetensors").exists()
    assert json.loads((run.folder.path / "finished.json").read_text())["steps"] == 0


def test_the_best_weights_know_their_score(toy):
    run = make_run(toy.config("run.max_epoch=1"))
    run.train()
    facts = json.loads((run.folder.path / "checkpoint_best.json").read_text())
    assert facts["score"] == {"accuracy": run.best.metric}
    assert facts["step"] == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, Preempted])
def test_who_stops_a_run_is_told_where(toy, error, monkeypatch):
    def stop(*_, **__):
        raise error

    run = make_run(toy.config())
    monkeypatch.setattr(run, "train_epoch", stop)
    with pytest.raises((Interrupted, Preempted)) as stopped:
        run.train()
    assert stopped.value.folder == run.folder.path
    monkeypatch.setattr(run.evaluator, "evaluate", stop)
    with pytest.raises((Interrupted, Preempted)) as stopped:
        run.evaluate()
    assert stopped.value.folder == run.folder.path
