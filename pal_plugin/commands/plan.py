"""`pal plan`, which is `pal train --dry-run`: what a run costs."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from pal_plugin.commands import options
from pal_plugin.config.ranges import CLIP_S, TEXT_TOKENS, WORLD_SIZE
from pal_plugin.planning.gpus import GPUS, gpu_gib

HELP = """\
examples:
  pal plan lal_stage1
  pal plan stage1 llama3.2_1b pal --world-size 8 --gpu h100 --json plan.json

Parameters, tokens, FLOPs and memory, without loading weights or reading data (docs/planning.md).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `pal plan`."""
    options.add_recipe(parser)
    add_plan_arguments(parser)


def add_plan_arguments(parser: Any) -> None:
    """What a plan is made for."""
    parser.add_argument(
        "--world-size",
        type=WORLD_SIZE.argument,
        default=1,
        metavar="N",
        help="GPUs (default: 1)",
    )
    parser.add_argument(
        "--gpu",
        default="h100",
        help=f"{', '.join(GPUS)}, or a number of GiB (default: h100)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--clip-seconds",
        type=CLIP_S.argument,
        default=10.0,
        metavar="S",
        help="of each clip (default: 10)",
    )
    parser.add_argument(
        "--text-tokens",
        type=TEXT_TOKENS.argument,
        nargs=2,
        default=(128, 64),
        metavar=("N", "A"),
        help="tokens of prompt and answer, and of the answer alone (default: 128 64)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan, and write it to `args.json` if named. Returns the exit code.

    Raises:
        ConfigError: a configuration or an option that cannot be used.
    """
    gpu = gpu_gib(args.gpu)
    os.environ.setdefault("PAL_DATA", "PAL_DATA")  # no data are read, so their folder may be unset
    cfg = options.loader(args)().to_dict()
    from pal_plugin.planning.plan import plan_of
    from pal_plugin.planning.report import as_text

    plan = plan_of(cfg, args.world_size, args.clip_seconds, *args.text_tokens)
    print(f"plan of {cfg['run']['name']}\n{as_text(plan, args.gpu, gpu)}")
    if args.json is not None:
        facts = {"recipe": cfg["run"]["name"], **plan.to_dict(gpu)}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return 0
