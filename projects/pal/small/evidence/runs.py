"""The trainings of all types and seeds, one after the other; whatever was stopped goes on."""

from __future__ import annotations

import logging
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evidence.log import seconds_trained
from pal_plugin.config.merging import flat
from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.config.trained import FINISHED
from pal_plugin.training.preemption import StopRequest
from pal_plugin.training.resuming import require_same, saved_config
from pal_plugin.utils.errors import DONE, PREEMPTED, ConfigError
from pal_plugin.utils.runtime import duration

#: Types with the number of their seeds, in the order of the tables.
SEEDS = {"plits": 3, "lal": 3, "pal": 1, "both": 3, "flamingo": 1}
OVERLAY = "small/evidence"
_POLL_S = 0.2


@dataclass(frozen=True)
class Planned:
    """One training, done or not.

    Attributes:
        kind: of `SEEDS`.
        folder: the run folder, `OUTPUT/KIND-seedN`.
    """

    kind: str
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether it came to its end, its evaluation included."""
        return (self.folder / FINISHED).is_file()

    def options(self, more: Sequence[str]) -> list[str]:
        """All changes to the recipe: where the run goes, its seed, and `more`."""
        return [f"run.seed={self.seed}", f"run.output_dir={self.folder.parent}", *more]

    def command(self, more: Sequence[str]) -> list[str]:
        """The product's own command, the same for a start and for going on."""
        return [
            *(sys.executable, "-m", "pal_plugin", "train", *recipe(self.kind)),
            *("--job-id", self.folder.name, "--resume", "auto"),
            *("--options", *self.options(more)),
        ]


def recipe(kind: str) -> tuple[str, str]:
    """The names of the run files that make a type's recipe."""
    return f"small/{kind}", OVERLAY


def plan(
    output: Path, types: Sequence[str] | None = None, seeds: Sequence[int] | None = None
) -> list[Planned]:
    """The trainings in their order: seed by seed, so that each type has a first result early.

    Args:
        types: of `SEEDS`; None: all.
        seeds: of each of these types; None: as many as `SEEDS` says.
    """
    wanted = {kind: seeds if seeds is not None else range(SEEDS[kind]) for kind in types or SEEDS}
    numbers = sorted({seed for of_kind in wanted.values() for seed in of_kind})
    root = output.expanduser().resolve()
    return [
        Planned(kind, seed, root / f"{kind}-seed{seed}")
        for seed in numbers
        for kind, of_kind in wanted.items()
        if seed in of_kind
    ]


def seeds_in(output: Path) -> list[int]:
    """The seeds of all run folders there, planned or not."""
    names = (folder.name for folder in output.expanduser().glob("*-seed*"))
    found = (re.fullmatch(rf"({'|'.join(SEEDS)})-seed(\d+)", name) for name in names)
    return sorted({int(match[2]) for match in found if match})


def check(run: Planned, options: Sequence[str]) -> None:
    """Refuse a run that was started with other settings.

    Raises:
        ConfigError: names each key that differs, with both values.
    """
    if not (run.folder / "config.yaml").is_file():
        return
    asked = load_config(find_recipes(recipe(run.kind)), run.options(options)).to_dict()
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
            if run.finished:
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
    missing = [run.folder.name for run in runs if not run.finished]
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
    begun = (seconds_trained(run.folder) or 0.0 for run in ahead if not run.finished)
    return sum(max(0.0, whole - seconds) for seconds in begun)
