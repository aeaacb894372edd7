"""`pal run`: where a training run stands, from its newest checkpoint."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from textwrap import indent
from typing import Any

from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.tables import text_table

HELP = """\
examples:
  pal run output/lal_stage1-20260101-120000
  pal run output/lal_stage1-20260101-120000 --json

A lane is a part of the training data that is read in order (run.lanes). Its place is the number of
batches taken from it; of each dataset it tells where the lane reads next: in shards as the pass
and the clip within the pass, in files as the number of the clip.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `pal run`."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--json", action="store_true", help="the checkpoint's state as it is")


def run(args: argparse.Namespace) -> int:
    """Print the state. Returns the exit code."""
    from pal_plugin.training.checkpoint_folder import newest

    found = newest(args.folder, check=False)
    if found is None:
        raise ConfigError(
            f"{args.folder} holds no whole checkpoint; expected a run folder with "
            "checkpoints/step-N (run.save_every, or the end of an epoch, writes one)"
        )
    path, state = found
    print(json.dumps(state, indent=2) if args.json else told(args.folder, path, state))
    return 0


def told(folder: Path, path: Path, state: dict[str, Any]) -> str:
    """The state as text."""
    from pal_plugin.training.checkpoint_folder import FINISHED
    from pal_plugin.utils.runtime import duration

    progress = state["progress"]
    stats, lanes = progress["stats"], progress["positions"]
    ended = "finished" if (folder / FINISHED).is_file() else "can go on: --resume auto"
    taken: Counter[str] = Counter()
    for position in lanes.values():
        taken.update(position["taken"])
    shares = [(name, f"{n:,}", f"{n / taken.total():.1%}") for name, n in taken.most_common()]
    lines = [
        f"{path} ({ended})",
        f"epoch {progress['epoch']}, step {progress['step']} ({progress['global_step']} in all), "
        f"{progress['clips']:,} clips, order {progress['order']}, trained for "
        f"{duration(state.get('seconds'))}",
        f"this epoch: loss {stats['loss_sum'] / max(1, stats['steps']):.4f}, "
        f"{stats['left_out']} steps left out, {len(stats['skipped'])} clips skipped",
        f"{state['world_size']} processes, {state['micros_per_step']} batches a step, "
        f"{state['lanes']} lanes",
        "",
        "batches by dataset:",
        indent(text_table(shares, "lr", rule=False), "  "),
        "",
        "lanes:",
    ]
    for lane, position in sorted(lanes.items(), key=lambda entry: int(entry[0])):
        where = "; ".join(f"{n} at {at[0]}" for n, at in position["datasets"].items())
        lines.append(f"  {lane}: {position['place']:,} batches; {where}")
    return "\n".join(lines)
