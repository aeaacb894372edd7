"""Several processes (gloo, CPU): the same curve as one, every clip asked once, errors by rank."""

import json
import os
import shutil
import signal

import processes
import pytest
import torch
from safetensors.torch import load_file

from .test_resuming import lines, steps

OPTIONS = [
    *("--job-id", "run", "--options", "run.max_epoch=2", "run.steps_per_epoch=5"),
    *("run.log_freq=1", "run.torch_threads=1", "run.batch_size_train=3", "run.init_lr=0.01"),
]


@pytest.fixture(scope="module")
def alone(tmp_path_factory, shards):
    """One process that accumulates two batches."""
    folder = tmp_path_factory.mktemp("alone")
    process = processes.start(folder, shards, [*OPTIONS, "run.accum_grad_iters=2"])
    process.join(processes.WAIT_S)
    assert process.exitcode == 0
    return folder / "output" / "run"


def same_curve(one, other):
    ours, theirs = steps(one), steps(other)
    assert [[*row[:3], *row[5:]] for row in ours] == [[*row[:3], *row[5:]] for row in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine[3:5] == pytest.approx(yours[3:5], rel=1e-5)
    weights, expected = (load_file(f / "checkpoint_last.safetensors") for f in (one, other))
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("more", [[], ["run.num_workers=1"], ["run.length_pool=1"]])
def test_two_processes_give_the_curve_of_one_that_accumulates(tmp_path, shards, alone, more):
    codes, output = processes.together(tmp_path, shards, [*OPTIONS, *more], 2)
    assert codes == [0, 0], output
    run = tmp_path / "output" / "run"
    same_curve(run, alone)
    # Evaluation: every clip once, and the same figures.
    ids = [json.loads(line)["id"] for line in (run / "result/val.jsonl").read_text().splitlines()]
    assert len(ids) == len(set(ids)) == 24
    for mine, theirs in zip(lines(run, "val"), lines(alone, "val"), strict=True):
        assert mine["classification"] == theirs["classification"]
    assert "error" not in output[1]


def test_a_run_goes_on_with_another_number_of_processes(tmp_path, shards, alone):
    """Two processes are stopped by a signal; one that accumulates two batches goes on."""
    started, _ = processes.start_together(tmp_path, shards, OPTIONS, 2, hold_at=4)
    run = tmp_path / "output" / "run"
    processes.wait_for_hold(tmp_path, *started)
    os.kill(started[1].pid, signal.SIGTERM)  # one of them is enough
    processes.let_go(tmp_path)
    for process in started:
        process.join(processes.WAIT_S)
    assert [p.exitcode for p in started] == [75, 75]
    assert 0 < len(steps(run)) < 10
    argv = [*OPTIONS, "run.accum_grad_iters=2"]
    process = processes.start(tmp_path, shards, ["--resume", "auto", *argv])
    process.join(processes.WAIT_S)
    assert process.exitcode == 0
    same_curve(run, alone)


def test_a_pass_goes_on_with_another_number_of_processes(tmp_path, shards):
    """Its length in steps changes; the clips of the pass do not."""
    options = ["--options", "run.max_epoch=1", "run.batch_size_train=2", "run.log_freq=1"]
    options += ["run.save_every=1", "run.torch_threads=1", "run.keep_checkpoints=9"]
    process = processes.start(tmp_path, shards, ["--job-id", "run", *options])
    process.join(processes.WAIT_S)
    run = tmp_path / "output" / "run"
    assert len(steps(run)) == 6  # 12 clips
    whole = json.loads((run / "finished.json").read_text())
    (run / "finished.json").unlink()
    for step in (5, 6):
        shutil.rmtree(run / "checkpoints" / f"step-{step:08}")
    argv = ["--job-id", "run", "--resume", "auto", *options]
    codes, output = processes.together(tmp_path, shards, argv, 2)
    assert codes == [0, 0], output
    finished = json.loads((run / "finished.json").read_text())
    assert (finished["clips"], finished["order"]) == (whole["clips"], whole["order"])
    assert finished["steps"] == 5  # four of one batch, one of two


@pytest.mark.slow
def test_what_only_the_first_process_does_may_take_longer_than_a_step(tmp_path, shards):
    argv = [*OPTIONS, "run.steps_per_epoch=1", "run.max_epoch=2"]
    codes, output = processes.together(tmp_path, shards, argv, 2, first_is_late=True)
    assert codes == [0, 0], output


def test_a_process_that_fails_ends_the_run_by_name(tmp_path, shards):
    """A shard that only one process reads has a batch without audio from a certain step on."""
    codes, output = processes.together(tmp_path, shards, OPTIONS, 2, fail_rank=1)
    assert codes[1] == 2
    assert codes[0] not in (0, -signal.SIGKILL)  # it ended by itself
    assert "error in rank 1 of 2 on " in output[1]
    assert "made to fail" in output[1]


@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_a_data_worker_that_dies_ends_the_run_with_a_word(script, tmp_path, shards, alone):
    log = tmp_path / "log.txt"
    shutil.copytree(alone, tmp_path / "output" / "trained")
    options = ["run.num_workers=1", "run.steps_per_epoch=50", "run.batch_size_eval=1"]
    options += ["model.checkpoint=output/trained"] if script == "evaluate" else []
    how = {"script": script, "kill_worker_at": 4, "log": str(log)}
    process = processes.start(tmp_path, shards, [*OPTIONS, *options], **how)
    process.join(processes.WAIT_S)
    assert process.exitcode == 2, log.read_text()
    assert "a DataLoader worker died" in log.read_text()
    assert "--resume auto" in log.read_text()


def test_a_process_that_nobody_joins_does_not_wait_forever(tmp_path, shards):
    log, meeting = tmp_path / "log.txt", processes.Rendezvous(2)
    argv = [*OPTIONS, "run.timeout_s=2"]
    process = processes.start(tmp_path, shards, argv, meeting.environ(0), str(log))
    process.join(processes.WAIT_S)
    assert process.exitcode not in (0, None)
    assert "2 of 2" in log.read_text() or "timed out" in log.read_text().lower()


@pytest.mark.slow
def test_evaluation_is_dealt_out_and_goes_on_with_another_number_of_processes(
    tmp_path, shards, alone
):
    """Also where one of two processes was killed half way."""
    shutil.copytree(alone, tmp_path / "output" / "trained")
    options = ["run.name=toy_recipe", "run.valid_splits=[]", "run.test_splits=[val]"]
    argv = ["--job-id", "ev", "--options", "model.checkpoint=output/trained", *options]
    whole = [*argv[:1], "one", *argv[2:]]
    process = processes.start(tmp_path, shards, whole, script="evaluate")
    process.join(processes.WAIT_S)
    assert process.exitcode == 0
    together = {"script": "evaluate", "fail_rank": 1, "fail_at": 2}
    codes, output = processes.together(tmp_path, shards, argv, 2, **together)
    assert 0 not in codes, output
    run = tmp_path / "output" / "ev"
    partial = {p.name for p in (run / "result").glob("*.partial.jsonl")}
    assert partial == {"val.partial.jsonl", "val.rank1.partial.jsonl"}
    process = processes.start(tmp_path, shards, argv, script="evaluate", log=str(run / "out.txt"))
    process.join(processes.WAIT_S)
    assert process.exitcode == 0
    assert "resuming after" in (run / "out.txt").read_text()
    one, resumed = (
        sorted((tmp_path / "output" / name / "result/val.jsonl").read_text().splitlines())
        for name in ("one", "ev")
    )
    assert len(one) == 24
    assert one == resumed
    assert not list((run / "result").glob("*.partial.jsonl"))
