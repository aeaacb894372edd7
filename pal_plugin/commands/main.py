"""The console command `pal`: a table of subcommands, each a module that is imported when asked for.

A subcommand is one file with `ABOUT` (a line for `pal --help` is in the table), `add_arguments`
and `run`, and one entry in `COMMANDS`. Nothing here imports torch or LAVIS, so `pal --help` is
quick; a subcommand that needs LAVIS registers it in its `run`.

A mistake of the user (`ConfigError`, `AudioError`, a missing file) is printed as one message and
ends with exit code 2; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean
from pal_plugin.version import __version__

#: Module of each subcommand: `add_arguments(parser)` and `run(args) -> exit code`. A module may
#: have `HELP`, shown under the arguments of `pal NAME --help`.
COMMANDS: dict[str, str] = {
    "data": "pal_plugin.commands.data",
    "results": "pal_plugin.commands.results",
    "run": "pal_plugin.commands.run",
}

#: One line for each, shown by `pal --help`.
ABOUT: dict[str, str] = {
    "data": "convert public datasets to shards; verify, count and show shards",
    "results": "merge runs into one table with confidence intervals",
    "run": "tell where a training run stands: steps, mix of the data, position in them",
}

_HELP = """\
examples:
  pal data --help
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=1,2,3,4 --split train --out shards/esc50-train
  pal data verify shards/esc50-train

Training and evaluation have scripts of their own: train.py and evaluate.py.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `pal`. Returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0].startswith("-"):
        parser = _overview()
        parser.parse_args(argv)  # --help and --version end here
        parser.print_help()
        return 2
    name, *rest = argv
    if name not in COMMANDS:
        print(
            f"error: pal has no command {name!r}. {did_you_mean(name, list(COMMANDS))}",
            file=sys.stderr,
        )
        return 2
    module = importlib.import_module(COMMANDS[name])
    parser = argparse.ArgumentParser(
        prog=f"pal {name}",
        description=ABOUT.get(name),
        epilog=getattr(module, "HELP", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error came from in the code"
    )
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    try:
        return module.run(args)
    except Exception as error:
        if args.traceback or not _is_users(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it was", file=sys.stderr)
        return 130


def _is_users(error: Exception) -> bool:
    if isinstance(error, ConfigError | FileNotFoundError | NotADirectoryError | PermissionError):
        return True
    # AudioError, without importing torch for it.
    return type(error).__module__.startswith("pal_plugin.audio")


def _overview() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10s}{ABOUT.get(name, '')}" for name in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="pal",
        usage="pal COMMAND ... | pal COMMAND --help",
        description=f"Tools of pal_plugin {__version__}.\n\ncommands:\n{listed}",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pal_plugin {__version__}")
    return parser
