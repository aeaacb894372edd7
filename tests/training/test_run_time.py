"""A run that ends by time ends as others do: saved, evaluated, its schedule complete."""

import json

import processes
import pytest
import torch

from pal_plugin.config.registry import SCHEDULES
from pal_plugin.tasks.instruct import InstructTask
from pal_plugin.training.checkpoint_folder import newest
from pal_plugin.training.run import Run
from pal_plugin.training.run_time import RunTime
from pal_plugin.utils.errors import ConfigError

OPTIONS = ["run.max_minutes=1", "run.steps_per_epoch=8", "run.max_epoch=50", "run.log_freq=1"]


class Clock:
    """Every step takes `step_s`, every evaluation `pause_s`."""

    def __init__(self, monkeypatch, step_s=5.0, pause_s=10.0):
        self.seconds = 0.0
        train, finish = InstructTask.train_step, InstructTask.after_evaluation
        monkeypatch.setattr(InstructTask, "train_step", self.behind(train, lambda: step_s))
        monkeypatch.setattr(InstructTask, "after_evaluation", self.behind(finish, lambda: pause_s))
        self.pause_s = pause_s

    def behind(self, method, seconds):
        def timed(*args, **kwargs):
            result = method(*args, **kwargs)
            self.seconds += seconds()
            return result

        return timed

    def __call__(self):
        return self.seconds


@pytest.fixture
def run_by(toy):
    def make(clock, *options, job_id="run"):
        torch.manual_seed(0)
        cfg = toy.config(*OPTIONS, *options)
        task = InstructTask.setup_task(cfg)
        run = Run(cfg, task, task.build_model(cfg), task.build_datasets(cfg), job_id)
        before = run.training.run_time
        run.training.run_time = RunTime(before.limit_s, before.seconds, clock)
        return run

    return make


def lines(run, kind):
    parsed = map(json.loads, (run.folder.path / "log.txt").read_text().splitlines())
    return [line for line in parsed if line["kind"] == kind]


def test_it_ends_within_an_epoch(run_by, monkeypatch):
    """8 steps of 5 s, 10 s of evaluation, and 2 steps more are 60 s."""
    run = run_by(Clock(monkeypatch))
    metrics = run.train()
    assert (run.training.progress.epoch, run.training.progress.step) == (1, 2)
    rates = [line["lr"] for line in lines(run, "train_step")]
    assert len(rates) == 10
    floor, peak = (float(run.cfg.run_cfg[key]) for key in ("min_lr", "init_lr"))
    # At its height behind the warm-up; the last step begins at 55 of 60 s.
    assert max(rates) > 0.98 * peak
    assert rates[-1] < floor + 0.02 * peak
    assert [line["epoch"] for line in lines(run, "val")] == [0, 1]
    assert set(metrics) == {"val"}
    path, state = newest(run.folder.path)
    assert path.name == "step-00000010"
    assert state["seconds"] == 60.0
    facts = json.loads((run.folder.path / "finished.json").read_text())
    assert (facts["epochs"], facts["steps"], facts["ended by"]) == (2, 10, "run.max_minutes")
    assert (run.folder.path / "checkpoint_best.safetensors").is_file()


def test_time_that_is_over_between_epochs_begins_no_other_one(run_by, monkeypatch):
    run = run_by(Clock(monkeypatch, step_s=7.0))
    run.train()
    assert len(lines(run, "train_step")) == 8
    assert [line["epoch"] for line in lines(run, "train")] == [0]
    assert [line["epoch"] for line in lines(run, "val")] == [0]


def test_time_goes_on_where_it_stood(run_by, monkeypatch):
    """Killed in the evaluation behind the first epoch, whose 40 s are kept."""
    clock = Clock(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(InstructTask, "valid_step", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_by(clock).train()
    run = run_by(clock, "run.resume=auto")
    assert run.training.run_time.seconds == 40.0
    run.train()
    assert len(lines(run, "train_step")) == 10
    whole = run_by(Clock(monkeypatch), job_id="whole")
    whole.train()
    rates = [[line["lr"] for line in lines(each, "train_step")] for each in (run, whole)]
    assert rates[0] == rates[1]


def test_a_run_whose_time_is_over_is_evaluated_when_it_is_resumed(run_by, monkeypatch):
    clock = Clock(monkeypatch)
    whole, seen = InstructTask.valid_step, []

    def fails_in_the_second_epoch(*args, **kwargs):
        seen.append(clock.seconds)
        return whole(*args, **kwargs) if clock.seconds < 60 else 1 / 0

    with monkeypatch.context() as patch:
        patch.setattr(InstructTask, "valid_step", fails_in_the_second_epoch)
        with pytest.raises(ZeroDivisionError):
            run_by(clock).train()
    run = run_by(clock, "run.resume=auto")
    assert set(run.train()) == {"val"}
    assert len(lines(run, "train_step")) == 10
    assert [line["epoch"] for line in lines(run, "train")] == [0, 1]
    assert [line["epoch"] for line in lines(run, "val")] == [0, 1]


def test_a_schedule_that_counts_no_time_is_refused(run_by, monkeypatch):
    class Foreign:
        pass

    monkeypatch.setitem(SCHEDULES.entries, "pal_warmup_cosine", Foreign)
    with pytest.raises(ConfigError, match=r"does not follow time; with run.max_minutes use pal_"):
        run_by(Clock(monkeypatch))


def test_all_processes_end_by_the_clock_of_the_first(tmp_path, shards):
    """Its clock goes on by a minute with each batch, and the others' stand still."""
    options = ["--job-id", "run", "--options", "run.max_minutes=4", "run.steps_per_epoch=50"]
    options += ["run.log_freq=1", "run.torch_threads=1", "run.batch_size_train=3"]
    codes, output = processes.together(tmp_path, shards, options, 2, ticks=True)
    assert codes == [0, 0], output
    facts = json.loads((tmp_path / "output/run/finished.json").read_text())
    assert (facts["steps"], facts["ended by"]) == (4, "run.max_minutes")


def test_what_counts_is_the_reading_that_all_were_told_last():
    now = [100.0]
    clock = RunTime(limit_s=60.0, before=20.0, clock=lambda: now[0])
    now[0] += 50.0
    assert clock.now() == 70.0
    assert (clock.seconds, clock.share, clock.is_over) == (20.0, 20.0 / 60.0, False)
    clock.seconds = clock.now()
    assert (clock.share, clock.is_over) == (1.0, True)
    endless = RunTime(before=1e9)
    assert (endless.share, endless.is_over) == (0.0, False)
