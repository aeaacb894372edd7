"""`train.py --dry-run`: the plan of a run file, printed."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from pal_plugin.planning.gpus import GPUS, gpu_gib
from pal_plugin.planning.plan import Plan, make_plan
from pal_plugin.planning.report import as_text
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.planning.workload import Workload


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a dry run."""
    group = parser.add_argument_group(
        "planning", "what a run costs, without loading weights or reading data"
    )
    group.add_argument(
        "--dry-run", action="store_true", help="print parameters, tokens, FLOPs and memory, and end"
    )
    group.add_argument("--world-size", type=int, default=1, metavar="N", help="GPUs (default: 1)")
    group.add_argument(
        "--gpu", default="h100", help=f"{', '.join(GPUS)}, or a number of GiB (default: h100)"
    )
    group.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    group.add_argument(
        "--clip-seconds", type=float, default=10.0, metavar="S", help="of each clip (default: 10)"
    )
    group.add_argument(
        "--text-tokens",
        type=int,
        nargs=2,
        default=(128, 64),
        metavar=("N", "A"),
        help="tokens of prompt and answer, and of the answer alone (default: 128 64)",
    )


def dry_run(args: argparse.Namespace) -> None:
    """Print the plan of `args.cfg_path`, and write it to `args.json` if named.

    Raises:
        ConfigError: a configuration or an option that cannot be used.
    """
    from pal_plugin.config.run_config import Config

    os.environ.setdefault("PAL_DATA", "PAL_DATA")  # no data are read, so their folder may be unset
    cfg = Config(args).to_dict()
    gpu = gpu_gib(args.gpu)
    plan = plan_of(cfg, args.world_size, args.clip_seconds, *args.text_tokens)
    print(f"plan of {cfg['run']['name']}\n{as_text(plan, args.gpu, gpu)}")
    if args.json is not None:
        facts = {"recipe": cfg["run"]["name"], **plan.to_dict(gpu)}
        args.json.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def plan_of(
    cfg: dict[str, Any], world_size: int, clip_s: float = 10.0, text: int = 128, answer: int = 64
) -> Plan:
    """The plan of a resolved configuration.

    Args:
        cfg: its sections as plain containers.
        world_size: processes, one per GPU.
        clip_s, text, answer: see `Workload`.
    """
    run = cfg["run"]
    asked = [d.get("items_per_clip") or 1 for d in (cfg.get("datasets") or {}).values()]
    work = Workload(
        clips=int(run["batch_size_train"]),
        rows_per_clip=max(asked, default=1),
        clip_s=clip_s,
        text=text,
        answer=answer,
        accumulate=int(run["accum_grad_iters"]),
    )
    return make_plan(
        build_skeleton(cfg["model"]),
        work,
        world_size=world_size,
        amp=str(run["amp"] or "none"),
        parallel=str(run["parallel"]),
        checkpointing=bool(run["activation_checkpointing"]),
    )
