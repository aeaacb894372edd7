"""The trainings of all types and seeds, one after the other; whatever was stopped goes on."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from evidence.log import seconds_trained
from evidence.planned import Planned, recipe
from evidence.records import experiment, keep, record_of, require_alike
from pal_plugin.config.merging import flat
from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.training.preemption import StopRequest
from pal_plugin.training.resuming import require_same, saved_config
from pal_plugin.utils.errors import DONE, PREEMPTED, ConfigError
from pal_plugin.utils.runtime import duration

_POLL_S = 0.2


def check(run: Planned, options: Sequence[str]) -> None:
    """Refuse a run that was started, here or where its record comes from, with other settings.

    Raises:
        ConfigError: names each key that differs, with both values.
    """
    here = (run.folder / "config.yaml").is_file()
    if not here and not run.record.is_file():
        return
    asked = load_config(find_recipes(recipe(run.kind)), run.options(options)).to_dict()
    if not here:
        wanted = {"name": "this one", "kind": run.kind, "experiment": experiment(asked)}
        require_alike(record_of(run), wanted)
        return
    saved = saved_config(run.folder)
    require_same(run.folder, saved, asked)
    # What answers are counted by may change while a run goes on, and would not be the same for all.
    then, now = (flat(config["run"].get("evaluation")) for config in (saved, asked))
    names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
    if names:
        listed = "; ".join(
            f"run.evaluation.{n}: {then.get(n)!r} then, {now.get(n)!r} now" for n in names
        )
        raise ConfigError(
            f"{run.folder} was evaluated under other settings ({listed}). Give the same, or "
            "another --output"
        )


def train_all(runs: Sequence[Planned], options: Sequence[str], hours: float | None = None) -> int:
    """Train what is not finished. Returns the exit code: `PREEMPTED` where some are left.

    A run that is going when the time is over, or when this process gets SIGTERM, is told to stop:
    it saves itself, and goes on exactly there next time.

    Args:
        hours: after which nothing begins and what is going is stopped; None: no limit.

    Raises:
        ConfigError: a run was started with other settings; before anything is trained.
    """
    for run in runs:
        check(run, options)
    until = None if hours is None else time.monotonic() + 3600 * hours
    stop = StopRequest()

    def over() -> bool:
        return bool(stop) or (until is not None and time.monotonic() >= until)

    with stop.listening():
        for number, run in enumerate(runs, 1):
            if run.done:
                print(f"{run.folder.name}: finished before", flush=True)
                continue
            if over():
                break
            left = duration(_seconds_left(runs[number - 1 :], runs))
            print(f"{run.folder.name}: run {number} of {len(runs)}, ETA {left}", flush=True)
            code = _followed(run.command(options), over)
            if code == PREEMPTED:
                break
            if code != DONE or not run.finished:
                print(f"error: {run.folder.name} ended with exit code {code}", file=sys.stderr)
                return code or 1
            print(f"kept: {keep(run)}", flush=True)
    missing = [run.folder.name for run in runs if not run.done]
    if missing:
        print(f"still to do: {', '.join(missing)}; the same command goes on", flush=True)
        return PREEMPTED
    return DONE


def _followed(command: Sequence[str], over: Callable[[], bool]) -> int:
    """Run a command until it ends; asked to stop once it is `over`. Returns its exit code.

    One that is still loading dies of the request: it has nothing to save, and goes on likewise.
    """
    child = subprocess.Popen(command)
    told = False
    try:
        while (code := child.poll()) is None:
            if not told and over():
                logging.info("telling %s to save and stop", command[command.index("--job-id") + 1])
                child.terminate()
                told = True
            time.sleep(_POLL_S)
    except KeyboardInterrupt:  # the child got it too
        child.wait()
        raise
    return PREEMPTED if told and code == -signal.SIGTERM else code


def _seconds_left(ahead: Sequence[Planned], runs: Sequence[Planned]) -> float | None:
    """Training still to do, at the pace of the finished runs; None before there is one."""
    done: list[Any] = [seconds_trained(run.folder) for run in runs if run.finished]
    done = [seconds for seconds in done if seconds is not None]
    if not done:
        return None
    whole = sum(done) / len(done)
    begun = (seconds_trained(run.folder) or 0.0 for run in ahead if not run.done)
    return sum(max(0.0, whole - seconds) for seconds in begun)
