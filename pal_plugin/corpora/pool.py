"""Shards written by several processes.

Design choice: plain subprocesses that read jobs from a pipe, not a process pool: this also works
from a notebook or a script without a `__main__` guard, and a pool's workers would wait for ever
after their parent was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.shards import write_shard
from pal_plugin.errors import ConfigError


def write_shards(jobs: Sequence[dict[str, Any]], workers: int, tick: Callable[[int], None]) -> None:
    """Do all jobs of `shards.write_shard`; with one worker in this process.

    Raises:
        ConfigError: a shard cannot be written (a full disk, no permission).
        RuntimeError: a worker died.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            try:
                write_shard(job, tick)
            except OSError as error:
                raise ConfigError(f"cannot write {job['path']}: {error}") from error
        return
    left, errors, lock = deque(jobs), [], threading.Lock()

    def count(clips: int) -> None:
        with lock:
            tick(clips)

    threads = [
        threading.Thread(target=_serve, args=(left, errors, count), daemon=True)
        for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        left.clear()
        errors.append(RuntimeError("interrupted"))
        raise
    if errors:
        raise errors[0]


def _serve(left: deque, errors: list[Exception], tick: Callable[[int], None]) -> None:
    """One worker process, given one job after another until none is left or one failed."""
    with subprocess.Popen(
        [sys.executable, "-m", "pal_plugin.corpora.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=_environment(),
    ) as process:
        while left and not errors:
            try:
                job = left.popleft()
            except IndexError:
                break
            try:
                process.stdin.write(json.dumps(job) + "\n")
                process.stdin.flush()
                _await(process, job, tick)
            except Exception as error:
                errors.append(error)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _await(process: subprocess.Popen, job: dict, tick: Callable[[int], None]) -> None:
    for line in process.stdout:
        message = json.loads(line)
        if "done" in message:
            tick(message["done"])
        elif "error" in message:
            if "Traceback" in message["error"]:
                raise RuntimeError(message["error"])
            raise ConfigError(f"cannot write {message['error']}")
        else:
            return
    raise RuntimeError(
        f"a worker ended while it wrote {job['path']} (status {process.wait()}); finished shards "
        "are kept, the same command goes on"
    )


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "PAL_PLUGIN_CORE_ONLY": "1",  # importing LAVIS takes longer than writing a shard
        "PYTHONIOENCODING": "utf-8",
    }
