"""Arguments shared by `pal train`, `pal evaluate` and `pal plan`: a recipe and changes to it."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.registry import Registry
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.runtime import Clock


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """Add the recipe and `--options`."""
    parser.add_argument(
        "recipe",
        nargs="*",
        metavar="RECIPE",
        help="a run file, or a name such as lal_stage1; several are merged in order. A full-size "
        "recipe is a stage, an LLM and a variant, in any order",
    )
    parser.add_argument(
        "--cfg-path",
        nargs="+",
        action="extend",
        default=[],
        metavar="YAML",
        help="the same, under LAVIS's name",
    )
    parser.add_argument(
        "--options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help='changes to the run file, as "a.b=c" or "a.b c"',
    )


def add_job_id(parser: argparse.ArgumentParser) -> None:
    """Add `--job-id`."""
    parser.add_argument(
        "--job-id",
        type=_run_name,
        metavar="NAME",
        help="name of the run folder (default: RECIPE-DATE-TIME); an interrupted evaluation of "
        "this name resumes",
    )


def recipe_files(args: argparse.Namespace) -> list[Path]:
    """The run files given on the command line.

    Raises:
        ConfigError: none is given, or one does not exist.
    """
    names = [*args.recipe, *args.cfg_path]
    if not names:
        raise ConfigError("no recipe given; for example: pal train lal_stage1")
    return find_recipes(names)


def loader(args: argparse.Namespace, **given: Any) -> Any:
    """`load_config` with the command line's files and options; keywords of both calls go to it."""
    from pal_plugin.config.run_config import load_config

    files = recipe_files(args)
    return lambda **more: load_config(files, args.options, **given, **more)


def same_command(command: str, argv: Sequence[str], *more: str) -> str:
    """The command line to run again, with `...` for a launcher's arguments.

    Args:
        command: the subcommand.
        argv: its arguments.
        more: arguments that replace `--job-id` and `--resume`.
    """
    kept, tokens = [], list(argv)
    while tokens:
        token = tokens.pop(0)
        name, sign, _ = token.partition("=")
        if name not in ("--job-id", "--resume"):
            kept.append(token)
        elif not sign and tokens:
            tokens.pop(0)
    start = f"{_launcher()} {command}"
    if Registry.host is not None:  # train.py and evaluate.py
        start = f"python {command}.py"
    return f"{start} {shlex.join([*kept, *more])}"


def _launcher() -> str:
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun ... -m pal_plugin"
    return "srun ... pal" if int(os.environ.get("SLURM_NTASKS", 1)) > 1 else "pal"


def start_log() -> Clock:
    """Set up logging with the time of day, INFO on rank 0 only; returns the start-up clock."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    rank = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))  # torch is not here yet
    logging.getLogger().setLevel(logging.INFO if rank == "0" else logging.WARNING)
    return Clock()


def _run_name(text: str) -> str:
    """The name of one folder, so that a run stays in `run.output_dir`."""
    if text in ("", ".", "..") or Path(text).name != text:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the name of a single folder; run.output_dir sets its parent"
        )
    return text
