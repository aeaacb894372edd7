"""The processes of a run: rank and world size, rendezvous, and collectives for plain values.

Reads the environment of torchrun or Slurm (`srun pal train ...`); without either a run is one
process.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
from torch import distributed

from pal_plugin.datasets.workers import end_with_parent
from pal_plugin.utils.errors import ConfigError

_PATIENCE = timedelta(hours=24)


@dataclass(frozen=True)
class World:
    """Rank and world size of this process.

    Attributes:
        rank: of this process.
        size: world size.
        local_rank: rank on this host; also its GPU.
        host: host name.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    host: str = "localhost"

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes files and logs."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size} on {self.host}"

    def gather(self, value: Any) -> list:
        """All ranks' picklable `value`, ordered by rank, on every rank."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value, group=_patient_group())
        return values

    def gather_numbers(self, numbers: Sequence[float]) -> list[list[float]]:
        """As `gather`, for the same count of numbers on each rank; cheap enough for every step."""
        if self.size == 1:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.float64)  # gloo: no GPU synchronization
        every = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(every, mine)
        return [tensor.tolist() for tensor in every]

    def from_first(self, value: Any) -> Any:
        """Rank 0's picklable `value`, on every rank."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=_patient_group())
        return values[0]

    def wait(self) -> None:
        """Block until every rank is here (barrier)."""
        if self.size > 1:
            distributed.barrier(group=_patient_group())


ALONE = World()


def current() -> World:
    """The world of this process: one process before `join`, all of them after it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ALONE
    found = read_environment(os.environ) or ALONE
    return World(distributed.get_rank(), distributed.get_world_size(), found.local_rank, found.host)


def read_environment(environ: Mapping[str, str]) -> World | None:
    """The world that torchrun's or Slurm's variables describe; None for a single process.

    Raises:
        ConfigError: torchrun's variables are incomplete.
    """
    if "RANK" in environ or "WORLD_SIZE" in environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        absent = [name for name in names if name not in environ]
        if absent:
            raise ConfigError(
                f"the environment sets RANK or WORLD_SIZE but not {', '.join(absent)}; start with "
                "torchrun, or unset RANK and WORLD_SIZE to run a single process"
            )
        rank, size, local = (int(environ[name]) for name in names[:3])
    elif "SLURM_PROCID" in environ and "SLURM_STEP_NUM_TASKS" in environ:
        rank, size = int(environ["SLURM_PROCID"]), int(environ["SLURM_STEP_NUM_TASKS"])
        local = int(environ.get("SLURM_LOCALID", 0))
    else:
        return None
    return World(rank, size, local, socket.gethostname()) if size > 1 else None


def join(device_type: str, timeout_s: float) -> World:
    """Initialize the process group; does nothing for a single process.

    CPU tensors use gloo, GPU tensors nccl.

    Args:
        device_type: "cuda" or "cpu".
        timeout_s: seconds after which a collective within a step fails.

    Raises:
        ConfigError: incomplete variables, or more processes on a host than it has GPUs.
    """
    world = read_environment(os.environ)
    if world is None:
        return ALONE
    if distributed.is_initialized():
        return current()
    if "MASTER_ADDR" not in os.environ:
        os.environ |= slurm_meeting_point(os.environ)
    backend = "gloo"
    if device_type == "cuda":
        if "RANK" not in os.environ and torch.cuda.device_count() == 1:
            world = replace(world, local_rank=0)  # srun --gpus-per-task: each task sees one GPU
        if world.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"{world} needs GPU {world.local_rank}, but {torch.cuda.device_count()} are "
                "visible on this host; start one process per GPU"
            )
        torch.cuda.set_device(world.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(
        backend, rank=world.rank, world_size=world.size, timeout=timedelta(seconds=timeout_s)
    )
    _patient_group()
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform.startswith("linux"):
        end_with_parent(signal.SIGTERM)  # torchrun may be killed, e.g. by SIGUSR1
    return world


@lru_cache(maxsize=1)
def _patient_group() -> Any:
    """Process group with a long timeout, for saving and evaluation, where ranks wait for rank 0.

    Steps use the short timeout; here a dead process is noticed by its closed connection.
    """
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)


def leave(code: int) -> None:
    """Exit at once if there are several processes; does nothing for a single process.

    About one in ten processes died of SIGABRT in the interpreter's shutdown (torch 2.11, gloo),
    with everything written, because a torch thread was still running. So the shutdown is skipped.

    Args:
        code: exit code.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if code == 0:
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def slurm_meeting_point(environ: Mapping[str, str]) -> dict[str, str]:
    """`MASTER_ADDR` and `MASTER_PORT` of a Slurm step: its first node, a port from the job id."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST", "localhost")
    # "gpu[003-007,9],login" begins with gpu003, "a,b" with a
    match = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    first = "".join(part or "" for part in match.groups()) if match else "localhost"
    job = int(environ.get("SLURM_JOB_ID", 0)) * 31 + int(environ.get("SLURM_STEP_ID", 0))
    return {"MASTER_ADDR": first, "MASTER_PORT": str(20000 + job % 20000)}
