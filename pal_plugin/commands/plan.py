"""`pal plan`, the same as `pal train --dry-run`: the cost of a run."""

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

Estimates parameters, tokens, FLOPs and memory without loading weights or data (docs/planning.md).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal plan`."""
    options.add_recipe(parser)
    add_plan_arguments(parser)


def add_plan_arguments(parser: Any) -> None:
    """Add the arguments that describe the workload and the GPUs."""
    parser.add_argument(
        "--world-size",
        type=WORLD_SIZE.argument,
        default=1,
        metavar="N",
        help="number of GPUs (default: 1)",
    )
    parser.add_argument(
        "--gpu",
        default="h100",
        help=f"{', '.join(GPUS)}, or its memory in GiB (default: h100)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the plan as JSON")
    parser.add_argument(
        "--clip-seconds",
        type=CLIP_S.argument,
        default=10.0,
        metavar="S",
        help="length of each clip in seconds (default: 10)",
    )
    parser.add_argument(
        "--text-tokens",
        type=TEXT_TOKENS.argument,
        nargs=2,
        default=(128, 64),
        metavar=("N", "A"),
        help="tokens of prompt plus answer, and of the answer (default: 128 64)",
    )


def run(args: argparse.Namespace) -> int:
    """Print the plan, and write it to `args.json` if given. Returns the exit code.

    Raises:
        ConfigError: an invalid configuration or option.
    """
    gpu = gpu_gib(args.gpu)
    os.environ.setdefault("PAL_DATA", "PAL_DATA")  # may be unset: no data are read
    cfg = options.loader(args)().to_dict()
    from pal_plugin.planning.plan import plan_of
    from pal_plugin.planning.report import as_text

    plan = plan_of(cfg, args.world_size, args.clip_seconds, *args.text_tokens)
    print(f"plan of {cfg['run']['name']}\n{as_text(plan, args.gpu, gpu)}")
    if args.json is not None:
        facts = {"recipe": cfg["run"]["name"], **plan.to_dict(gpu)}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    return 0
