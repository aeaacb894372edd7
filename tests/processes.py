"""Training runs in processes of their own, which may be several, or be killed.

They are forked from one server that has imported everything, so that a run starts at once.
"""

import multiprocessing
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from torch.distributed import TCPStore

# The server starts without pytest's path (before Python 3.13), and must find the modules here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
)
WAIT_S = 600  # for what takes seconds, on a machine that does much else; only a failure waits
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pal_plugin", "toys", "sklearn.metrics", "torch._dynamo"])


def start(folder, shards, argv, environ=None, log=None, **how):
    """`train.py ARGV` in `folder` with the toy model; the process is returned.

    Keywords, where a batch's number is that of its forward pass in its process: `hold_at`, the
    batch before which it waits until it is `let_go`; `fail_rank`, `fail_at`, the process that fails
    and at which of its batches; `kill_worker_at`, at which batch its data workers are killed;
    `kill_at`, `(batch, calls)`: its own SIGKILL, so many calls of functions behind that batch (0:
    the start); `first_is_late`, whether its metrics take longer than a step may; `own_group`, as a
    shell or torchrun starts it; `script`, train or evaluate; `ticks`, whether a run's clock goes on
    by a minute with each batch of the first process, and never with those of others.
    """
    process = CONTEXT.Process(
        target=_run, args=(str(folder), str(shards), argv, environ or {}, log), kwargs=how
    )
    process.start()
    return process


class Rendezvous:
    """Where `size` processes meet. As torchrun does it, its port is never free in between."""

    def __init__(self, size):
        self.size = size
        self.store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)

    def environ(self, rank):
        """Variables of one of them."""
        return {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": self.size,
            "LOCAL_WORLD_SIZE": self.size,
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": self.store.port,
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": 0,
        }


def start_together(folder, shards, argv, size, **how):
    """`torchrun --nproc-per-node SIZE train.py ARGV`; the processes, and their logs by rank."""
    meeting = Rendezvous(size)
    logs = [Path(folder) / f"rank{rank}.txt" for rank in range(size)]
    processes = [
        start(folder, shards, argv, meeting.environ(rank), str(log), **how)
        for rank, log in enumerate(logs)
    ]
    processes[0].meeting = meeting  # which lives as long as they do
    return processes, logs


def together(folder, shards, argv, size, **how):
    """As `start_together`, to the end; exit codes and output by rank."""
    processes, logs = start_together(folder, shards, argv, size, **how)
    ended = time.monotonic() + WAIT_S
    for process in processes:
        process.join(max(0, ended - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return [p.exitcode for p in processes], [log.read_text() for log in logs]


def wait_for_hold(folder, *processes):
    """Until all `processes` stand at their `hold_at`."""
    ended = time.monotonic() + WAIT_S
    held = [Path(folder) / f"held-{process.pid}" for process in processes]
    while not all(path.exists() for path in held):
        alive = all(process.is_alive() for process in processes)
        assert alive, "a process ended before it was held"
        assert time.monotonic() < ended
        time.sleep(0.01)


def let_go(folder):
    """Let all processes of a folder go on; a signal that was sent before reaches them before."""
    (Path(folder) / "go").touch()


def _hold(folder):
    (Path(folder) / f"held-{os.getpid()}").touch()
    ended = time.monotonic() + WAIT_S
    while not (Path(folder) / "go").exists() and time.monotonic() < ended:
        time.sleep(0.01)


def _kill_after(calls):
    """SIGKILL to this process at its so many-th call from now: no clock, so no load counts."""
    pid, left = os.getpid(), [calls]

    def count(frame, event, arg):
        left[0] -= 1
        if left[0] <= 0 and os.getpid() == pid:  # not in a data worker, forked from here
            os.kill(pid, signal.SIGKILL)

    sys.setprofile(count)


def _run(
    folder,
    shards,
    argv,
    environ,
    log,
    hold_at=None,
    fail_rank=None,
    fail_at=3,
    kill_worker_at=None,
    kill_at=(None, 0),
    first_is_late=False,
    own_group=False,
    script="train",
    ticks=False,
):
    import cli
    import torch
    from toys import ToyListener, register

    from pal_plugin.audio.io import AudioError

    if own_group:
        os.setpgid(0, 0)
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # data workers, as train.py starts them
    os.environ.update({name: str(value) for name, value in environ.items()})
    os.chdir(folder)
    if log:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1)
        sys.stderr = os.fdopen(2, "w", buffering=1)
    recipe = register(folder, shards)
    scores, calls = ToyListener.scores, []

    def watched(self, samples):
        calls.append(1)
        if len(calls) == hold_at:
            _hold(folder)
        if len(calls) == fail_at and str(fail_rank) == os.environ.get("RANK"):
            raise AudioError("made to fail")
        if len(calls) == kill_worker_at:
            for worker in multiprocessing.active_children():
                worker.kill()
        if len(calls) == kill_at[0]:
            _kill_after(kill_at[1])
        return scores(self, samples)

    ToyListener.scores = watched
    if first_is_late:
        _make_the_first_late()
    if ticks:
        from pal_plugin.training.run_time import RunTime

        first = os.environ.get("RANK", "0") == "0"
        RunTime.now = lambda self: 60.0 * len(calls) if first else 0.0
    if kill_at[0] == 0:
        _kill_after(kill_at[1])
    torch.manual_seed(0)
    sys.exit(getattr(cli, script)(["--cfg-path", str(recipe), *argv]))


def _make_the_first_late():
    """Its metrics take longer than a step may; a step has its time again behind the evaluation."""
    import torch
    from torch.distributed.distributed_c10d import _set_pg_timeout

    from pal_plugin.evaluation.splits import SplitEvaluator
    from pal_plugin.tasks.instruct import InstructTask
    from pal_plugin.training import distributed

    evaluate, finish = SplitEvaluator.evaluate, InstructTask.after_evaluation

    def impatient(self, *args, **kwargs):
        patient = distributed._patient_group()._get_backend(torch.device("cpu"))
        assert patient.options._timeout >= timedelta(hours=1)
        _set_pg_timeout(timedelta(seconds=0.2))
        try:
            return evaluate(self, *args, **kwargs)
        finally:
            _set_pg_timeout(timedelta(seconds=WAIT_S))

    def late(self, *args, **kwargs):
        time.sleep(1)
        return finish(self, *args, **kwargs)

    SplitEvaluator.evaluate, InstructTask.after_evaluation = impatient, late
