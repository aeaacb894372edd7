"""`pal doctor`: installed and missing packages, the machine, a self-test of the shipped model."""

from __future__ import annotations

import argparse
import time

from pal_plugin.utils.installed import PACKAGE, Need, core, optional
from pal_plugin.utils.machine import cached_weights, computer, folders
from pal_plugin.utils.tables import text_table
from pal_plugin.version import __version__

HELP = """\
examples:
  pal doctor
  pal doctor --no-test    # versions, machine and folders only

The exit code is 1 if a required package is missing or has another version, or if the self-test
fails, else 0. Paste the output into bug reports.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal doctor`."""
    parser.add_argument("--no-test", action="store_true", help="skip the self-test")


def run(args: argparse.Namespace) -> int:
    """Print the report. Returns the exit code."""
    needs, features = core(), optional()
    _show(f"pal_plugin {__version__}", text_table(map(_row, needs), "l", rule=False))
    _show("machine", text_table(computer(), "l", rule=False))
    _show("features", text_table(map(_feature, features), "l", rule=False))
    _show("folders", text_table(folders(), "l", rule=False))
    _show("cached weights", "\n".join(cached_weights()) or "none; pal weights get small")
    problems = [_problem(need) for need in needs if not need.fits]
    if not needs:
        problems.append(
            f"{PACKAGE} is not installed, so its requirements are unknown: pip install ."
        )
    if not args.no_test:
        problems += _tested()
    _show("problems", "\n".join(problems) or "none")
    return 1 if problems else 0


def _tested() -> list[str]:
    """Problems found by the self-test of the shipped model."""
    begun = time.perf_counter()
    try:
        from transformers.utils.logging import disable_progress_bar

        from pal_plugin.models.self_test import self_test

        disable_progress_bar()
        heard = self_test()
    # Any error here is a finding of the report.
    except Exception as error:
        return [f"the self-test failed to run: {type(error).__name__}: {error}"]
    answers = ", ".join(f"{one.truth}: {one.answer!r}" for one in heard)
    _show("self-test", f"{answers} ({time.perf_counter() - begun:.1f} s, imports included)")
    wrong = [one for one in heard if not one.right]
    return [
        f"self-test: expected {one.truth!r}, the model answered {one.answer!r}" for one in wrong
    ]


def _row(need: Need) -> tuple[str, str, str]:
    state = "" if need.fits else "MISSING" if need.version is None else f"WANTED {need.wanted}"
    return need.name, need.version or "-", state


def _feature(need: Need) -> tuple[str, str, str]:
    if need.fits:
        return need.name, need.version or "", need.purpose
    before = f"{need.version}, wanted {need.wanted}" if need.version else "-"
    return need.name, before, f"{need.purpose}: {need.remedy}"


def _problem(need: Need) -> str:
    state = "is missing" if need.version is None else f"is {need.version}"
    wanted = f" (wanted: {need.wanted})" if need.wanted else ""
    return f"{need.name} {state}{wanted}: {need.remedy}"


def _show(title: str, text: str) -> None:
    print(f"{title}\n" + "\n".join(f"  {line}" for line in text.splitlines()) + "\n", flush=True)
