"""Jobs done by several processes, each given one after another.

Design choice: plain subprocesses that read jobs from a pipe, one JSON line each, and not a process
pool: this also works from a notebook or a script without a `__main__` guard, and as a worker's
input ends with its parent, even by SIGKILL, none outlives it by more than a job.
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
    """Call `function(job, tick)` for each job; with one worker in this process.

    Args:
        function: of a module, which a worker imports.
        jobs: what JSON can hold; `path` names a job in messages.
        tick: told of every n clips done.

    Raises:
        UserError: of a job; from a worker a `ConfigError` of the same words.
        ConfigError: a process cannot be started.
        RuntimeError: a worker died, or its job raised anything else.
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
        errors.append(error)  # what is begun is finished, and nothing else begun
        raise
    if errors:
        raise errors[0]


def _serve(name: str, left: deque, errors: list[BaseException], tick: Tick) -> None:
    """One worker, until no job is left or one failed.

    Whatever fails is in `errors`: an exception would end this thread alone, and nobody would know.
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
        raise ConfigError(
            f"cannot start a worker process: {error}; fewer --workers may do"
        ) from error


def _do(process: subprocess.Popen, job: dict[str, Any], tick: Tick) -> None:
    with contextlib.suppress(BrokenPipeError):  # that it has ended is told below
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
    for line in process.stdout:
        told, value = json.loads(line)
        if told == "clips":
            tick(value)
        elif told == "done":
            return
        else:
            raise ConfigError(value) if told == "mistake" else RuntimeError(value)
    raise RuntimeError(
        f"a worker ended while it wrote {job['path']} (status {process.wait()}); finished shards "
        "are kept, the same command goes on"
    )


def _work(name: str) -> None:
    """Do the jobs of standard input.

    Each answer is a line of JSON: `["clips", n]` as they are done, then `["done", null]`,
    `["mistake", TEXT]` of a `UserError`, or `["bug", TRACEBACK]`.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever libraries print goes elsewhere

    def answer(told: str, value: Any = None) -> None:
        print(json.dumps([told, value]), file=answers, flush=True)

    module, _, function = name.partition(":")
    for line in sys.stdin:
        job = json.loads(line)
        try:
            getattr(importlib.import_module(module), function)(job, lambda n: answer("clips", n))
        except UserError as error:
            answer("mistake", str(error))
        except Exception:  # whatever it is, run_jobs raises it in the parent, with this traceback
            answer("bug", f"{job['path']}: {traceback.format_exc()}")
        else:
            answer("done")


if __name__ == "__main__":
    try:
        _work(sys.argv[1])
    except (BrokenPipeError, KeyboardInterrupt):
        sys.exit(1)
