"""Run jobs on several worker processes.

Design choice: plain subprocesses that read jobs from a pipe, one JSON line each, instead of a
process pool: this also works from a notebook or a script without a `__main__` guard, and since a
worker's input ends with its parent, even by SIGKILL, no worker outlives it by more than a job.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pal_plugin.utils.errors import ConfigError, UserError

Tick = Callable[[int], None]


def run_jobs(
    function: Callable[[dict[str, Any], Tick], Any],
    jobs: Sequence[dict[str, Any]],
    workers: int,
    tick: Tick,
) -> None:
    """Call `function(job, tick)` for each job; a single worker is this process itself.

    Args:
        function: at module level, so that a worker can import it.
        jobs: JSON values; `path` names a job in messages.
        workers: number of processes.
        tick: called with the number of clips done.

    Raises:
        UserError: raised by a job; from a worker as a `ConfigError` with the same message.
        ConfigError: a process cannot be started.
        RuntimeError: a worker died, or a job raised another error.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        for job in jobs:
            function(job, tick)
        return
    name = f"{function.__module__}:{function.__name__}"
    left, errors, lock = deque(jobs), [], threading.Lock()

    def count(clips: int) -> None:
        with lock:
            tick(clips)

    threads = [
        threading.Thread(target=_serve, args=(name, left, errors, count), daemon=True)
        for _ in range(workers)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException as error:
        errors.append(error)  # workers finish their current job and stop
        raise
    if errors:
        raise errors[0]


def _serve(name: str, left: deque, errors: list[BaseException], tick: Tick) -> None:
    """Serve one worker until no job is left or one failed.

    Failures go to `errors`: an exception would end this thread only, unnoticed.
    """
    try:
        with _started(name) as process:
            try:
                while not errors:
                    try:
                        job = left.popleft()
                    except IndexError:
                        break
                    _do(process, job, tick)
            finally:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
    except Exception as error:
        errors.append(error)


def _started(name: str) -> subprocess.Popen:
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
    }
    try:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
    except OSError as error:
        raise ConfigError(f"cannot start a worker process: {error}; try fewer --workers") from error


def _do(process: subprocess.Popen, job: dict[str, Any], tick: Tick) -> None:
    with contextlib.suppress(BrokenPipeError):  # a dead worker is reported below
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    for line in process.stdout:
        kind, value = json.loads(line)
        if kind == "clips":
            tick(value)
        elif kind == "done":
            return
        else:
            raise ConfigError(value) if kind == "mistake" else RuntimeError(value)
    raise RuntimeError(
        f"a worker died while writing {job['path']} (status {process.wait()}); finished shards are "
        "kept, the same command resumes"
    )


def _work(name: str) -> None:
    """Run the jobs read from standard input.

    Each answer is a line of JSON: `["clips", n]` for progress, then `["done", null]`,
    `["mistake", TEXT]` for a `UserError`, or `["bug", TRACEBACK]`.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # keep library output out of the answers

    def answer(kind: str, value: Any = None) -> None:
        print(json.dumps([kind, value]), file=answers, flush=True)

    module, _, function = name.partition(":")
    for line in sys.stdin:
        job = json.loads(line)
        try:
            getattr(importlib.import_module(module), function)(job, lambda n: answer("clips", n))
        except UserError as error:
            answer("mistake", str(error))
        except Exception:  # run_jobs raises it in the parent, with this traceback
            answer("bug", f"{job['path']}: {traceback.format_exc()}")
        else:
            answer("done")


if __name__ == "__main__":
    try:
        _work(sys.argv[1])
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)
