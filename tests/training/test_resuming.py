"""A run that is killed at any moment and goes on gives what one that was never killed gives."""

import json
import os
import random
import shutil
import signal
from types import SimpleNamespace

import processes
import pytest
import yaml

from pal_plugin.training.resuming import find_run, require_same
from pal_plugin.utils.errors import PREEMPTED, ConfigError

OPTIONS = [
    *("--options", "run.max_epoch=3", "run.steps_per_epoch=12", "run.save_every=2"),
    *("run.log_freq=1", "run.torch_threads=1", "run.batch_size_train=2", "run.num_workers=1"),
    *("run.shard_streams=2", "run.init_lr=0.01"),
]
#: Calls of functions until the first batch, and in about three steps with saves.
CALLS_OF_START, CALLS = 560_000, 60_000


def lines(folder, kind):
    parsed = map(json.loads, (folder / "log.txt").read_text().splitlines())
    return [line for line in parsed if line["kind"] == kind]


def steps(folder):
    """What training steps did, without what depends on the clock."""
    keys = ("epoch", "step", "global_step", "batch_loss", "grad_norm", "lr", "order", "clips")
    return [[line[key] for key in keys] for line in lines(folder, "train_step")]


def finish(folder, shards, *argv, **how):
    process = processes.start(folder, shards, [*argv, *OPTIONS], **how)
    process.join(processes.WAIT_S)
    assert process.exitcode == 0
    return process


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory, shards):
    folder = tmp_path_factory.mktemp("whole")
    finish(folder, shards, "--job-id", "run")
    return folder / "output" / "run"


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments(tmp_path, shards, kills):
    """SIGKILL; not a sample is lost or doubled, and every weight is the same bit for bit."""
    rng = random.Random(kills)
    options = [*OPTIONS, f"run.steps_per_epoch={4 + 2 * kills}"]
    (tmp_path / "whole").mkdir()
    whole = processes.start(tmp_path / "whole", shards, ["--job-id", "run", *options])
    whole.join(processes.WAIT_S)
    argv, log = ["--job-id", "run", "--resume", "auto", *options], tmp_path / "log.txt"
    run, expected = (folder / "output" / "run" for folder in (tmp_path, tmp_path / "whole"))
    for _ in range(kills):
        # Some batches on, but at any moment of a step, a save, an evaluation, or the start.
        batch = rng.randint(0, 4)
        kill_at = (batch, rng.randint(1, CALLS if batch else CALLS_OF_START))
        process = processes.start(tmp_path, shards, argv, log=str(log), kill_at=kill_at)
        process.join(processes.WAIT_S)
        assert process.exitcode == -signal.SIGKILL, log.read_text()
    process = processes.start(tmp_path, shards, argv)
    process.join(processes.WAIT_S)
    assert process.exitcode == whole.exitcode == 0
    assert steps(run) == steps(expected)
    assert len(steps(run)) == 3 * (4 + 2 * kills)
    for name in ("checkpoint_best.safetensors", "checkpoint_last.safetensors"):
        assert (run / name).read_bytes() == (expected / name).read_bytes()
    facts = [json.loads((folder / "finished.json").read_text()) for folder in (run, expected)]
    assert [one.pop("seconds") >= 0 for one in facts] == [True, True]
    assert facts[0] == facts[1]
    assert [x["classification"] for x in lines(run, "val")] == [
        x["classification"] for x in lines(expected, "val")
    ]
    assert len(list((run / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("name", ["SIGTERM", pytest.param("SIGUSR1", marks=pytest.mark.slow)])
def test_told_to_stop_it_saves_and_has_its_own_exit_code(tmp_path, shards, never_killed, name):
    run, log = tmp_path / "output" / "run", tmp_path / "log.txt"
    argv = ["--job-id", "run", *OPTIONS, "run.save_every=null"]
    process = processes.start(tmp_path, shards, argv, log=str(log), hold_at=4)
    processes.wait_for_hold(tmp_path, process)
    os.kill(process.pid, getattr(signal, name))
    processes.let_go(tmp_path)
    process.join(processes.WAIT_S)
    assert process.exitcode == PREEMPTED
    told = log.read_text()
    assert "preempted; state saved; step-" in told
    assert " is saved; resume with: " in told
    assert told.rstrip().endswith("--job-id run --resume auto")
    assert 0 < len(steps(run)) < 36
    finish(tmp_path, shards, "--job-id", "run", "--resume", "auto")
    assert steps(run) == steps(never_killed)


def test_a_signal_to_all_processes_of_the_group_saves_too(tmp_path, shards, never_killed):
    """As torchrun and Slurm send it: data workers get it as well."""
    run, log = tmp_path / "output" / "run", tmp_path / "log.txt"
    argv = ["--job-id", "run", *OPTIONS, "run.save_every=null"]
    process = processes.start(tmp_path, shards, argv, log=str(log), hold_at=4, own_group=True)
    processes.wait_for_hold(tmp_path, process)
    os.killpg(process.pid, signal.SIGTERM)
    processes.let_go(tmp_path)
    process.join(processes.WAIT_S)
    assert process.exitcode == PREEMPTED, log.read_text()
    assert 0 < len(steps(run)) < 36
    finish(tmp_path, shards, "--job-id", "run", "--resume", "auto")
    assert steps(run) == steps(never_killed)


@pytest.mark.slow
def test_auto_passes_over_runs_of_other_settings_and_those_that_are_being_trained(
    tmp_path, shards, never_killed
):
    other = shutil.copytree(never_killed, tmp_path / "output" / "other")
    (other / "finished.json").unlink()
    log = tmp_path / "log.txt"
    argv = ["--resume", "auto", *OPTIONS, "run.seed=8"]
    first = processes.start(tmp_path, shards, argv, log=str(log), hold_at=4)
    processes.wait_for_hold(tmp_path, first)
    second = processes.start(tmp_path, shards, argv, log=str(tmp_path / "second.txt"))
    second.join(processes.WAIT_S)
    assert second.exitcode == 0
    first.kill()
    first.join()
    assert "other with different settings (run.seed: was 42, now 8" in log.read_text()
    assert "another process is training it" in (tmp_path / "second.txt").read_text()
    runs = sorted((tmp_path / "output").glob("toy*"))
    assert [(run / "finished.json").is_file() for run in runs] == [False, True]


def test_auto_finds_the_newest_run_that_is_not_finished(tmp_path, shards, never_killed):
    log = tmp_path / "log.txt"
    argv = ["--resume", "auto", *OPTIONS]
    process = processes.start(tmp_path, shards, argv, log=str(log), hold_at=4)
    processes.wait_for_hold(tmp_path, process)
    process.kill()
    process.join()
    (run,) = (tmp_path / "output").iterdir()
    assert "no checkpoint to resume from" in log.read_text()
    finish(tmp_path, shards, "--resume", "auto")
    assert [path.name for path in (tmp_path / "output").iterdir()] == [run.name]
    assert steps(run) == steps(never_killed)
    # A finished run is left alone, by its name and by auto.
    again = tmp_path / "again.txt"
    finish(tmp_path, shards, "--job-id", run.name, "--resume", "auto", log=str(again))
    assert "is finished; nothing to do" in again.read_text()


def test_other_settings_are_refused_by_name(tmp_path, shards, never_killed):
    shutil.copytree(never_killed, tmp_path / "output" / "run")
    (tmp_path / "output" / "run" / "finished.json").unlink()
    log = tmp_path / "log.txt"
    argv = ["--job-id", "run", "--resume", "auto", *OPTIONS, "run.init_lr=0.5"]
    process = processes.start(tmp_path, shards, argv, log=str(log))
    process.join(processes.WAIT_S)
    assert process.exitcode == 2
    assert "run.init_lr: was 0.01, now 0.5" in log.read_text()


def test_a_damaged_newest_checkpoint_costs_its_steps_only(tmp_path, shards, never_killed):
    run = tmp_path / "output" / "run"
    shutil.copytree(never_killed, run)
    (run / "finished.json").unlink()
    newest = max((run / "checkpoints").iterdir())
    file = newest / "optimizer.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    log = tmp_path / "log.txt"
    finish(tmp_path, shards, "--job-id", "run", "--resume", "auto", log=str(log))
    assert f"{newest} is damaged: optimizer.safetensors" in log.read_text()
    assert steps(run) == steps(never_killed)


def a_run(root, folder, steps=(), **run):
    """A folder as far as it is looked at: its configuration, and which checkpoints there are."""
    config = {"model": {"width": 4}, "datasets": {}, "run": {"name": "toy", "seed": 1, **run}}
    (root / folder).mkdir(parents=True)
    (root / folder / "config.yaml").write_text(yaml.safe_dump(config))
    for step in steps:
        (root / folder / "checkpoints" / f"step-{step}").mkdir(parents=True)
    return SimpleNamespace(folder=root / folder, config=config)


def test_auto_takes_runs_of_the_recipe_with_a_checkpoint_only(tmp_path):
    wanted = a_run(tmp_path, "wanted", [2])
    a_run(tmp_path, "nothing_saved")
    a_run(tmp_path, "another_recipe", [9], name="other")
    a_run(tmp_path, "other_settings", [9], seed=2)
    (a_run(tmp_path, "finished", [9]).folder / "finished.json").touch()
    assert find_run(tmp_path, None, "auto", wanted.config) == wanted.folder
    assert find_run(tmp_path, "no_such_name", "auto", wanted.config) is None
    with pytest.raises(ConfigError, match=r"expected auto or a run folder"):
        find_run(tmp_path, None, str(tmp_path), wanted.config)


def test_what_changes_nothing_that_is_learned_may_differ(tmp_path):
    run = a_run(tmp_path, "run", num_workers=2)
    asked = {**run.config, "run": {**run.config["run"], "num_workers": 8, "device": "cuda"}}
    require_same(run.folder, run.config, asked)
    kept = [{"x": {"cache": {"dtype": d, "folder": d, "limit_gb": len(d)}}} for d in ("a", "bc")]
    before, now = ({**run.config, "model": {"width": 4, "encoders": e}} for e in kept)
    with pytest.raises(ConfigError, match=r"settings \(model\.encoders\.x\.cache\.dtype: [^;]*\)"):
        require_same(run.folder, before, now)
    asked["model"] = {"width": 5}
    with pytest.raises(ConfigError, match=r"model\.width: was 4, now 5"):
        require_same(run.folder, run.config, asked)


def test_a_run_from_before_gains_goes_on_without_them(tmp_path):
    run = a_run(tmp_path, "run")
    asked = {
        **run.config,
        "run": {**run.config["run"], "lr_scale": {"connectors": 1.0, "gains": 9}},
    }
    before = {**asked, "run": {**asked["run"], "lr_scale": {"connectors": 1.0}}}
    require_same(run.folder, before, {**asked, "model": {**asked["model"], "lal_gain": None}})
    with pytest.raises(ConfigError, match=r"settings \(model\.lal_gain: was None, now 0\.3\)"):
        require_same(run.folder, before, {**asked, "model": {**asked["model"], "lal_gain": 0.3}})
