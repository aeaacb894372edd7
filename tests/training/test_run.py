"""runner_pal against the traps of LAVIS's run, in one process on the CPU."""

import json
import logging

import pytest
import torch

from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.training.faults import NonFiniteLossError
from pal_plugin.training.run import Run
from pal_plugin.utils.errors import ConfigError


def make_run(cfg, task_class=InstructTask, job_id=None):
    torch.manual_seed(0)
    task = task_class.setup_task(cfg)
    return Run(cfg, task, task.build_model(cfg), task.build_datasets(cfg), job_id)


class FixedMetrics(InstructTask):
    """Validates with given numbers instead of real ones."""

    values = ()

    def after_evaluation(self, val_result, split_name, epoch=None, **kwargs):
        value = self.values[epoch]
        return {"classification": {"accuracy": torch.tensor(value), "n": 1}, "agg_metrics": value}


def test_device_auto_is_cuda_where_there_is_one(toy, monkeypatch):
    run = make_run(toy.config())
    assert run.place.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"run\.device=cuda"):
        make_run(toy.config("run.device=cuda"))


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


def gradients(toy, monkeypatch, *options):
    """Gradients that the optimizer sees at its steps, with the model left as it is."""
    cfg = toy.config("run.init_lr=0", "run.min_lr=0", "run.grad_clip=null", *options)
    run = make_run(cfg)
    seen = []
    step = run.training.optimizer.step
    monkeypatch.setattr(
        run.training.optimizer,
        "step",
        lambda: (seen.append(run.place.model.head.weight.grad.clone()), step()),
    )
    run.train_epoch(0)
    return seen


def test_a_learning_rate_per_component_is_kept_in_proportion(toy):
    run = make_run(toy.config("run.init_lr=0.1"))
    run.place.model.param_groups = lambda weight_decay: [
        {"params": [run.place.model.head.weight], "lr": 0.02},
        {"params": [run.place.model.embed.weight], "lr_scale": 3.0},
        {"params": []},
    ]
    run.training.schedule.step(cur_epoch=0, cur_step=1)
    first, second = run.training.optimizer.param_groups
    assert second["lr"] == pytest.approx(15 * first["lr"])
    assert first["lr"] <= 0.02


def test_kinds_of_components_have_rates_of_their_own(toy):
    run = make_run(toy.config("run.lr_scale.connectors=0.5"))
    run.place.model.param_groups = lambda decay: [
        {"name": name, "params": list(part.parameters()), "weight_decay": decay}
        for name, part in (("connectors", run.place.model.embed), ("lora", run.place.model.head))
    ]
    run.train()
    slow, fast = run.training.optimizer.param_groups
    assert slow["lr"] == pytest.approx(fast["lr"] / 2)
    lines = (run.folder.path / "log.txt").read_text().splitlines()
    rates = json.loads(lines[0])["lr_by_group"]
    assert rates["connectors"] == pytest.approx(rates["lora"] / 2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["run.lr_scale.encoders=0.1"], "names encoders, of which nothing is trained"),
        (["run.lr_scale.encodres=0.1"], "Did you mean 'encoders'"),
    ],
)
def test_a_rate_of_what_is_not_trained_is_an_error(toy, options, told):
    with pytest.raises(ConfigError, match=told):
        make_run(toy.config(*options)).train()


def test_a_run_folder_has_one_user_at_a_time(toy):
    first = make_run(toy.config(), job_id="mine")
    with pytest.raises(ConfigError, match=r"mine is in use by process \d+ on .*--job-id"):
        make_run(toy.config("run.resume=auto"), job_id="mine")
    first.train()
    make_run(toy.config("run.resume=auto"), job_id="mine")


def test_checkpoints_to_keep_are_one_or_more(toy):
    with pytest.raises(ConfigError, match=r"run\.keep_checkpoints is 0"):
        make_run(toy.config("run.keep_checkpoints=0")).train()


def test_nothing_trainable_is_an_error(toy):
    run = make_run(toy.config())
    run.place.model.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"model\.stage"):
        run.train()


def test_two_runs_of_one_seed_are_equal_whatever_the_workers(toy):
    losses = []
    for workers in (0, 1, 2):
        run = make_run(toy.config(f"run.num_workers={workers}", "run.lanes=2"))
        run.train()
        log = (run.folder.path / "log.txt").read_text().splitlines()
        losses.append([json.loads(x)["loss"] for x in log if '"train"' in x])
    assert losses[0] == losses[1] == losses[2]


def test_an_interrupted_checkpoint_leaves_the_previous_one(toy, monkeypatch):
    run = make_run(toy.config())
    path = run.state.save_weights(0)
    before = path.read_bytes()
    save = run.place.model.save_checkpoint

    def broken(target, **meta):
        save(target, **meta)
        raise OSError("no space left on device")

    monkeypatch.setattr(run.place.model, "save_checkpoint", broken)
    with pytest.raises(OSError, match="no space"):
        run.state.save_weights(1)
    assert path.read_bytes() == before
    assert not list(run.folder.path.glob(".writing*"))


def test_steps_are_one_pass_unless_given(toy):
    assert make_run(toy.config()).training.steps_per_epoch == 3  # 12 clips in batches of 4
    assert make_run(toy.config("run.steps_per_epoch=7")).training.steps_per_epoch == 7


def test_progress_is_logged_where_there_is_no_terminal(toy, caplog):
    caplog.set_level(logging.INFO)
    make_run(toy.config("run.max_epoch=1")).train()
    assert "step 2/3" in caplog.text
    assert "clips/s" in caplog.text
    assert "ETA" in caplog.text
