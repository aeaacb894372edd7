"""runner_pal against the traps of LAVIS's runner, in one process on the CPU."""

import json
import logging

import pytest
import torch

from pal_plugin.tasks.pal_instruct import PalInstructTask
from pal_plugin.training.faults import NonFiniteLossError
from pal_plugin.training.runner_pal import RunnerPal
from pal_plugin.utils.errors import ConfigError


def make_runner(cfg, task_class=PalInstructTask, job_id=None):
    torch.manual_seed(0)
    task = task_class.setup_task(cfg)
    return RunnerPal(cfg, task, task.build_model(cfg), task.build_datasets(cfg), job_id)


class FixedMetrics(PalInstructTask):
    """Validates with given numbers instead of real ones."""

    values = ()

    def after_evaluation(self, val_result, split_name, epoch=None, **kwargs):
        value = self.values[epoch]
        return {"classification": {"accuracy": torch.tensor(value), "n": 1}, "agg_metrics": value}


def test_device_auto_is_cuda_where_there_is_one(toy, monkeypatch):
    runner = make_runner(toy.config())
    assert runner.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"run\.device=cuda"):
        make_runner(toy.config("run.device=cuda")).model  # noqa: B018


def test_without_validation_the_last_is_the_best(toy):
    runner = make_runner(toy.config("run.valid_splits=[]", "run.test_splits=[val]"))
    metrics = runner.train()
    assert (runner.output_dir / "checkpoint_best.safetensors").is_file()
    assert set(metrics) == {"val"}


def test_the_encoders_run_once_per_batch_of_evaluation(toy):
    runner = make_runner(toy.config())
    runner.model.calls.clear()
    runner.evaluate()
    # Shards of 4 clips in batches of 3 clips: 3 batches, whatever is asked about them.
    assert runner.model.calls.count("encode_audio") == 3
    assert ("predict_class", ("low", "high")) in runner.model.calls


def test_an_unknown_split_is_named_with_the_known_ones(toy):
    with pytest.raises(ConfigError, match=r"'test'.*train, val"):
        make_runner(toy.config("run.test_splits=[test]"))


def test_a_loss_that_is_not_finite_names_the_samples(toy):
    runner = make_runner(toy.config())
    with torch.no_grad():
        runner.model.head.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"train-\d-\d#\d"):
        runner.train()


def gradients(toy, monkeypatch, *options):
    """Gradients that the optimizer sees at its steps, with the model left as it is."""
    cfg = toy.config("run.init_lr=0", "run.min_lr=0", "run.grad_clip=null", *options)
    runner = make_runner(cfg)
    seen = []
    step = runner.optimizer.step
    monkeypatch.setattr(
        runner.optimizer,
        "step",
        lambda: (seen.append(runner.model.head.weight.grad.clone()), step()),
    )
    runner.train_epoch(0)
    return seen


def test_a_learning_rate_per_component_is_kept_in_proportion(toy):
    runner = make_runner(toy.config("run.init_lr=0.1"))
    runner.model.param_groups = lambda weight_decay: [
        {"params": [runner.model.head.weight], "lr": 0.02},
        {"params": [runner.model.embed.weight], "lr_scale": 3.0},
        {"params": []},
    ]
    runner.lr_scheduler.step(cur_epoch=0, cur_step=1)
    first, second = runner.optimizer.param_groups
    assert second["lr"] == pytest.approx(15 * first["lr"])
    assert first["lr"] <= 0.02


def test_lavis_schedules_still_work(toy):
    runner = make_runner(toy.config("run.lr_sched=linear_warmup_cosine_lr"))
    runner.train()
    assert runner.best_epoch is not None


def test_kinds_of_components_have_rates_of_their_own(toy):
    runner = make_runner(toy.config("run.lr_scale.connectors=0.5"))
    runner.model.param_groups = lambda decay: [
        {"name": name, "params": list(part.parameters()), "weight_decay": decay}
        for name, part in (("connectors", runner.model.embed), ("lora", runner.model.head))
    ]
    runner.train()
    slow, fast = runner.optimizer.param_groups
    assert slow["lr"] == pytest.approx(fast["lr"] / 2)
    lines = (runner.output_dir / "log.txt").read_text().splitlines()
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
        make_runner(toy.config(*options)).train()


def test_lavis_schedules_know_one_rate_only(toy):
    cfg = toy.config("run.lr_sched=linear_warmup_cosine_lr", "run.lr_scale.connectors=0.5")
    runner = make_runner(cfg)
    runner.model.param_groups = lambda decay: [
        {"name": "connectors", "params": list(runner.model.parameters()), "weight_decay": decay}
    ]
    with pytest.raises(ConfigError, match="sets one rate for all"):
        runner.train()


def test_a_run_folder_has_one_user_at_a_time(toy):
    first = make_runner(toy.config(), job_id="mine")
    with pytest.raises(ConfigError, match=r"mine is in use by process \d+ on .*--job-id"):
        make_runner(toy.config("run.resume=auto"), job_id="mine")
    first.train()
    make_runner(toy.config("run.resume=auto"), job_id="mine")


def test_checkpoints_to_keep_are_one_or_more(toy):
    with pytest.raises(ConfigError, match=r"run\.keep_checkpoints is 0"):
        make_runner(toy.config("run.keep_checkpoints=0")).train()


def test_nothing_trainable_is_an_error(toy):
    runner = make_runner(toy.config())
    runner.model.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"model\.stage"):
        runner.train()


def test_two_runs_of_one_seed_are_equal_whatever_the_workers(toy):
    losses = []
    for workers in (0, 1, 2):
        runner = make_runner(toy.config(f"run.num_workers={workers}", "run.lanes=2"))
        runner.train()
        log = (runner.output_dir / "log.txt").read_text().splitlines()
        losses.append([json.loads(x)["loss"] for x in log if '"train"' in x])
    assert losses[0] == losses[1] == losses[2]


def test_an_interrupted_checkpoint_leaves_the_previous_one(toy, monkeypatch):
    runner = make_runner(toy.config())
    path = runner._save_checkpoint(0)
    before = path.read_bytes()
    save = runner.model.save_checkpoint

    def broken(target, **meta):
        save(target, **meta)
        raise OSError("no space left on device")

    monkeypatch.setattr(runner.model, "save_checkpoint", broken)
    with pytest.raises(OSError, match="no space"):
        runner._save_checkpoint(1)
    assert path.read_bytes() == before
    assert not list(runner.output_dir.glob(".writing*"))


def test_steps_are_one_pass_unless_given(toy):
    assert make_runner(toy.config()).steps_per_epoch == 3  # 12 clips in batches of 4
    assert make_runner(toy.config("run.steps_per_epoch=7")).steps_per_epoch == 7


def test_progress_is_logged_where_there_is_no_terminal(toy, caplog):
    caplog.set_level(logging.INFO)
    make_runner(toy.config("run.max_epoch=1")).train()
    assert "step 2/3" in caplog.text
    assert "clips/s" in caplog.text
    assert "ETA" in caplog.text
