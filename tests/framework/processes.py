"""Training runs in processes of their own, which may be several, or be killed.

They are forked from one server that has imported everything, so that a run starts at once.
"""

import multiprocessing
import os
import socket
import sys
import time
from pathlib import Path

# The server starts without pytest's path (before Python 3.13), and must find the modules here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
)
WAIT_S = 240  # for what takes seconds, on a machine that does much else; only a failure waits
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["pal_plugin", "toys", "sklearn.metrics", "torch._dynamo"])


def start(folder, shards, argv, environ=None, log=None, **how):
    """`train.py ARGV` in `folder` with the toy model; the process is returned.

    Keywords: `slow_s`, how long each batch takes; `fail_rank`, `fail_at`, the process that fails
    and at which of its batches; `kill_worker_at`, at which batch its data workers are killed;
    `slow_metrics_s`, how long its metrics take; `own_group`, as a shell or torchrun starts it;
    `script`, train or evaluate.
    """
    process = CONTEXT.Process(
        target=_run, args=(str(folder), str(shards), argv, environ or {}, log), kwargs=how
    )
    process.start()
    return process


def free_port():
    """One that nobody uses now."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def together(folder, shards, argv, size, **how):
    """`torchrun --nproc-per-node SIZE train.py ARGV`; exit codes and output by rank."""
    port = free_port()
    logs = [Path(folder) / f"rank{rank}.txt" for rank in range(size)]
    processes = []
    for rank, log in enumerate(logs):
        environ = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
        environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "LOCAL_WORLD_SIZE": size}
        processes.append(start(folder, shards, argv, environ, str(log), **how))
    ended = time.monotonic() + WAIT_S
    for process in processes:
        process.join(max(0, ended - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()
    return [p.exitcode for p in processes], [log.read_text() for log in logs]


def _run(
    folder,
    shards,
    argv,
    environ,
    log,
    slow_s=0.0,
    fail_rank=None,
    fail_at=3,
    kill_worker_at=None,
    slow_metrics_s=0.0,
    own_group=False,
    script="train",
):
    import torch
    from toys import ToyListener, register

    from pal_plugin import cli
    from pal_plugin.audio.io import AudioError
    from pal_plugin.tasks.pal_instruct import PalInstructTask

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

    def slower(self, samples):
        time.sleep(slow_s)
        calls.append(1)
        if len(calls) == fail_at and str(fail_rank) == os.environ.get("RANK"):
            raise AudioError("made to fail")
        if len(calls) == kill_worker_at:
            for worker in multiprocessing.active_children():
                worker.kill()
        return scores(self, samples)

    ToyListener.scores = slower
    finish = PalInstructTask.after_evaluation

    def counted(self, *args, **kwargs):
        time.sleep(slow_metrics_s)
        return finish(self, *args, **kwargs)

    PalInstructTask.after_evaluation = counted
    torch.manual_seed(0)
    sys.exit(getattr(cli, script)(["--cfg-path", str(recipe), *argv]))
