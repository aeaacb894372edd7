"""What torchrun's and Slurm's variables mean."""

import pytest
import torch

from pal_plugin.training.distributed import (
    ALONE,
    current,
    join,
    read_environment,
    slurm_meeting_point,
)
from pal_plugin.utils.errors import ConfigError

TORCHRUN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}


def test_torchruns_variables():
    world = read_environment(TORCHRUN)
    assert (world.rank, world.size, world.local_rank, world.first) == (5, 8, 1, False)
    assert str(world).startswith("rank 5 of 8 on ")
    assert read_environment({}) is None
    assert read_environment({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}) is None


def test_half_of_torchruns_variables_is_an_error():
    """LAVIS's trap: a process that waits for others which were never started."""
    with pytest.raises(ConfigError, match="LOCAL_RANK, MASTER_ADDR, MASTER_PORT"):
        read_environment({"RANK": "0", "WORLD_SIZE": "2"})


def test_slurms_variables():
    environ = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1"}
    world = read_environment(environ)
    assert (world.rank, world.size, world.local_rank) == (3, 4, 1)
    # Inside an allocation but not started by srun: one process.
    assert read_environment({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu[003-007,9],login", "gpu003"),
        ("gpu[12,14]", "gpu12"),
        ("node-a,node-b", "node-a"),
        ("single", "single"),
    ],
)
def test_slurms_first_machine(nodes, first):
    found = slurm_meeting_point({"SLURM_STEP_NODELIST": nodes, "SLURM_JOB_ID": "4711"})
    assert found["MASTER_ADDR"] == first
    assert 20000 <= int(found["MASTER_PORT"]) < 40000


def test_alone_everything_is_immediate():
    assert current() is ALONE
    assert ALONE.gather({"a": 1}) == [{"a": 1}]
    assert ALONE.gather_numbers([1, 2]) == [[1, 2]]
    assert ALONE.from_first("x") == "x"
    ALONE.wait()


def test_a_slurm_task_that_sees_one_gpu_takes_it(monkeypatch):
    """srun --gpus-per-task shows each task its own GPU as number 0."""
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    environ = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "3"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    taken = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *a, **k: None)
    monkeypatch.setattr(torch.distributed, "new_group", lambda **k: None)
    monkeypatch.setenv("MASTER_ADDR", "x")
    assert join("cuda", 60).local_rank == 0
    assert taken == [0]
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="needs GPU 1, but 1 are visible"):
        join("cuda", 60)
