"""The processes of a run: who they are, how they meet, and what they tell each other.

torchrun and Slurm (`srun pal train ...`) are both understood; without either a run is one
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
    """All processes of a run, as one of them sees them.

    Attributes:
        rank, size: this process's number, and how many there are.
        local_rank: its number on its machine, which is its GPU's.
        host: its machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    host: str = "localhost"

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size} on {self.host}"

    def gather(self, value: Any) -> list:
        """Everybody's plain `value`, by rank, in every process."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        distributed.all_gather_object(values, value, group=_patient_group())
        return values

    def gather_numbers(self, numbers: Sequence[float]) -> list[list[float]]:
        """As `gather`, for equally many numbers of each process; cheap enough for every step."""
        if self.size == 1:
            return [list(numbers)]
        mine = torch.tensor(numbers, dtype=torch.float64)  # over gloo: no GPU has to wait
        every = [torch.empty_like(mine) for _ in range(self.size)]
        distributed.all_gather(every, mine)
        return [tensor.tolist() for tensor in every]

    def from_first(self, value: Any) -> Any:
        """The first process's plain `value`, in every process."""
        if self.size == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, group=_patient_group())
        return values[0]

    def wait(self) -> None:
        """Until everybody is here."""
        if self.size > 1:
            distributed.barrier(group=_patient_group())


ALONE = World()


def current() -> World:
    """The world of this process as it stands: after `join`, with everybody in it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return ALONE
    found = read_environment(os.environ) or ALONE
    return World(distributed.get_rank(), distributed.get_world_size(), found.local_rank, found.host)


def read_environment(environ: Mapping[str, str]) -> World | None:
    """What torchrun's or Slurm's variables say; None for a process of its own.

    Raises:
        ConfigError: some of torchrun's variables without the others.
    """
    if "RANK" in environ or "WORLD_SIZE" in environ:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
        absent = [name for name in names if name not in environ]
        if absent:
            raise ConfigError(
                f"the environment sets RANK or WORLD_SIZE but not {', '.join(absent)}; start with "
                "torchrun, or unset them for a run of one process"
            )
        rank, size, local = (int(environ[name]) for name in names[:3])
    elif "SLURM_PROCID" in environ and "SLURM_STEP_NUM_TASKS" in environ:
        rank, size = int(environ["SLURM_PROCID"]), int(environ["SLURM_STEP_NUM_TASKS"])
        local = int(environ.get("SLURM_LOCALID", 0))
    else:
        return None
    return World(rank, size, local, socket.gethostname()) if size > 1 else None


def join(device_type: str, timeout_s: float) -> World:
    """Meet the other processes; does nothing for a process of its own.

    gloo carries what is on the CPU, nccl what is on GPUs. Whoever waits in a step longer than
    `timeout_s` for another process ends with an error.

    Raises:
        ConfigError: variables that do not fit, or more processes on a machine than it has GPUs.
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
            world = replace(world, local_rank=0)  # srun --gpus-per-task shows each task its own
        if world.local_rank >= torch.cuda.device_count():
            raise ConfigError(
                f"{world}: it needs GPU {world.local_rank}, and this machine shows "
                f"{torch.cuda.device_count()}; start as many processes as there are GPUs"
            )
        torch.cuda.set_device(world.local_rank)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(
        backend, rank=world.rank, world_size=world.size, timeout=timedelta(seconds=timeout_s)
    )
    _patient_group()
    if "TORCHELASTIC_RUN_ID" in os.environ and sys.platform.startswith("linux"):
        end_with_parent(signal.SIGTERM)  # torchrun itself may be killed, by SIGUSR1 for example
    return world


@lru_cache(maxsize=1)
def _patient_group() -> Any:
    """For what only the first process does, or some sooner than others: saving, evaluation.

    Steps have the short timeout; here a process that died is noticed by its closed connection.
    """
    return distributed.new_group(backend="gloo", timeout=_PATIENCE)


def leave(code: int) -> None:
    """End a process of several, at once; does nothing for a process of its own.

    About one in ten processes died of SIGABRT in the interpreter's shutdown (torch 2.11, gloo),
    with everything written: a thread of torch's was still running. So there is no shutdown.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return
    if code == 0:
        distributed.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def slurm_meeting_point(environ: Mapping[str, str]) -> dict[str, str]:
    """`MASTER_ADDR` and `MASTER_PORT` of a Slurm step: its first machine, a port by job number."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_NODELIST", "localhost")
    # "gpu[003-007,9],login" begins with gpu003, "a,b" with a
    match = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    first = "".join(part or "" for part in match.groups()) if match else "localhost"
    job = int(environ.get("SLURM_JOB_ID", 0)) * 31 + int(environ.get("SLURM_STEP_ID", 0))
    return {"MASTER_ADDR": first, "MASTER_PORT": str(20000 + job % 20000)}
