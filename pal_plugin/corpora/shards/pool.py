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

from pal_plugin.corpora.shards.writing import write_shard
from pal_plugin.utils.errors import ConfigError


def write_shards(jobs: Sequence[dict[str, Any]], workers: int, tick: Callable[[int], None]) -> None:
    """Do all jobs of `shards.write_shard`; with one worker in this process.

    Raises:
        ConfigError: a shard cannot be written (a full disk, no permission), or no process started.
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

    threads = []
    try:
        for _ in range(workers):
            thread = threading.Thread(target=_serve, args=(left, errors, count), daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()
    except BaseException:
        left.clear()
        errors.append(RuntimeError("interrupted"))
        raise
    if errors:
        raise errors[0]


def _serve(left: deque, errors: list[Exception], tick: Callable[[int], None]) -> None:
    """One worker process, given one job after another until none is left or one failed.

    Whatever fails is in `errors`, also that the process cannot be started: an exception would end
    this thread alone, and nobody would know.
    """
    try:
        process = _started()
    except Exception as error:
        errors.append(error)
        return
    with process:
        try:
            while not errors:
                try:
                    job = left.popleft()
                except IndexError:  # another thread took the last one
                    break
                _do(process, job, tick)
        except Exception as error:
            errors.append(error)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _started() -> subprocess.Popen:
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "pal_plugin.corpora.shards.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=_environment(),
        )
    except OSError as error:
        raise ConfigError(
            f"cannot start a worker process: {error}; fewer --workers may do"
        ) from error


def _do(process: subprocess.Popen, job: dict, tick: Callable[[int], None]) -> None:
    with contextlib.suppress(BrokenPipeError):  # that it has ended is told below
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
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
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "PAL_PLUGIN_CORE_ONLY": "1",  # importing LAVIS takes longer than writing a shard
        "PYTHONIOENCODING": "utf-8",
    }
