"""The console command `pal`: a table of subcommands, whose modules are imported on demand.

A subcommand is one file with `add_arguments` and `run`, and one entry in `COMMANDS`. `--help` does
not import torch, and `run` checks names and paths before it does.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import re
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from pal_plugin.utils.errors import (
    DONE,
    FAILED,
    INTERRUPTED,
    PREEMPTED,
    UNREAD,
    Interrupted,
    Preempted,
    UserError,
)
from pal_plugin.utils.spelling import did_you_mean, neighbours
from pal_plugin.version import __version__

#: By name: the module (`add_arguments(parser)`, `run(args) -> exit code`, `HELP`, shown below the
#: arguments, `INTERMIXED`, whether options may stand between positional arguments, and
#: `resume(argv, run folder or None)`, the message after Ctrl-C), and a line for `pal --help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "ask": ("pal_plugin.commands.ask", "ask a model about audio clips, once or in a conversation"),
    "train": ("pal_plugin.commands.train", "train a model by a recipe"),
    "evaluate": ("pal_plugin.commands.evaluate", "evaluate a trained model"),
    "plan": (
        "pal_plugin.commands.plan",
        "estimate parameters, FLOPs and memory of a recipe",
    ),
    "data": (
        "pal_plugin.commands.data",
        "convert datasets to shards; verify, count and show shards; cache encoder states",
    ),
    "weights": (
        "pal_plugin.commands.weights",
        "download small published models: an LLM and an encoder",
    ),
    "results": (
        "pal_plugin.commands.results",
        "tabulate the results of runs, with confidence intervals",
    ),
    "doctor": (
        "pal_plugin.commands.doctor",
        "check installed packages and the machine, and run a self-test",
    ),
    "serve": (
        "pal_plugin.commands.serve",
        "answer over HTTP, as OpenAI's servers do, and on a page",
    ),
    "run": (
        "pal_plugin.commands.run",
        "show the progress of a training run: steps, data mix, data position",
    ),
}

_HELP = """\
examples:
  pal ask dog "What do you hear?"
  pal train lal_stage1
  pal evaluate lal_stage1
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=1,2,3,4 --split train --out shards/esc50-train
  pal results output/lal_stage1-*
"""


def main(argv: Sequence[str] | None = None, *, host: str | None = None) -> int:
    """Entry point of `pal`. Returns the exit code.

    Args:
        argv: arguments; None: those of the process.
        host: a module, such as `pal_plugin.hosts.lavis`, that is imported if the recipe uses a name
            that the core does not know.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0].startswith("-"):
        parser = _overview()
        parser.parse_args(argv)  # --help and --version end here
        parser.print_help()
        return FAILED
    name, *rest = argv
    if name not in COMMANDS:
        hint = did_you_mean(name, list(COMMANDS))
        print(f"error: pal has no command {name!r}. {hint}", file=sys.stderr)
        return FAILED
    module_name, about = COMMANDS[name]
    module = importlib.import_module(module_name)
    parser = _Parser(
        prog=f"pal {name}",
        description=about[0].upper() + about[1:] + ".",
        epilog=getattr(module, "HELP", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show the traceback of user errors too"
    )
    module.add_arguments(parser)
    mixed = getattr(module, "INTERMIXED", False)
    args = (parser.parse_intermixed_args if mixed else parser.parse_args)(rest)
    if host is not None:
        from pal_plugin.config.registry import Registry

        Registry.host = host
    resume = getattr(module, "resume", None)
    code = guarded(
        lambda: module.run(args),
        traceback=args.traceback,
        resume=resume and (lambda folder: resume(rest, folder)),
    )
    if distributed := sys.modules.get("pal_plugin.training.distributed"):
        distributed.leave(code)
    return code


def guarded(
    run: Callable[[], int],
    *,
    traceback: bool = False,
    resume: Callable[[Path | None], str] | None = None,
) -> int:
    """The exit code of `run`; errors that the user can fix are printed as one message.

    Any other error is a bug and keeps its traceback.

    Args:
        run: returns an exit code.
        traceback: raise user errors too, with their traceback.
        resume: message on how to resume an interrupted run, from its folder or None.
    """
    try:
        return run() or DONE
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        return UNREAD
    except (UserError, OSError) as error:
        if traceback or not (isinstance(error, UserError) or _of_the_disk(error)):
            raise
        print(f"error{_where()}: {_message(error)}", file=sys.stderr)
        return FAILED
    except Preempted as stop:
        how = f"; {resume(stop.folder)}" if resume and stop.folder else ""
        print(f"preempted{_where()}; state saved{how}", file=sys.stderr)
        return PREEMPTED
    except KeyboardInterrupt as stop:
        message = "interrupted; all files written so far are complete"
        folder = stop.folder if isinstance(stop, Interrupted) else None
        print(f"{message}; {resume(folder)}" if resume else message, file=sys.stderr)
        return INTERRUPTED


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader has ended, such as `head`; if so, discard further
    output."""
    if not hasattr(select, "poll"):
        return False
    place, watcher = sys.stdout.fileno(), select.poll()
    watcher.register(place, 0)
    if not any(event & select.POLLERR for _, event in watcher.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), place)
    return True


def _of_the_disk(error: OSError) -> bool:
    """Whether an error concerns a file or a full disk; others are bugs, or from the network."""
    kinds = (FileNotFoundError, NotADirectoryError, PermissionError)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, kinds) or error.filename is not None or full


def _where() -> str:
    """The rank of this process, if there are several."""
    distributed = sys.modules.get("pal_plugin.training.distributed")
    world = distributed.current() if distributed else None
    return f" in {world}" if world and world.size > 1 else ""


def _message(error: Exception) -> str:
    """The error's message, without the traceback that a DataLoader worker wraps around it."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    return re.split(r"^[\w.]+Error: ", text, flags=re.MULTILINE)[-1].strip()


class _Parser(argparse.ArgumentParser):
    """Says below an error which option may be meant, and where examples are."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit with code 2."""
        given = [word.split("=")[0] for word in message.split() if word.startswith("--")]
        near = [name for word in given for name in neighbours(word, _options(self), 1)]
        hint = f"Did you mean {near[0]}? " if near and message.startswith("unrecognized") else ""
        super().error(f"{message}. {hint}Examples: {self.prog} --help")


def _options(parser: argparse.ArgumentParser) -> list[str]:
    """The options of a parser and of its subcommands, which leave unknown ones to it."""
    found: list[str] = []
    for action in parser._actions:
        found += [name for name in action.option_strings if name.startswith("--")]
        for sub in action.choices.values() if isinstance(action.choices, Mapping) else ():
            found += _options(sub)
    return sorted(set(found))


def _overview() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:10s}{about}" for name, (_, about) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="pal",
        usage="pal COMMAND ... | pal COMMAND --help",
        description=f"pal_plugin {__version__}: audio for LLMs.\n\ncommands:\n{listed}",
        epilog=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pal_plugin {__version__}")
    return parser
