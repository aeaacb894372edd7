"""`pal run`: the progress of a training run, from its newest checkpoint."""

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

For each shard stream (run.shard_streams) it prints the batches read, and the position in each
dataset: pass and clip within the pass for shards, clip number for files.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `pal run`."""
    parser.add_argument("folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--json", action="store_true", help="print the checkpoint's state as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the progress. Returns the exit code.

    Raises:
        ConfigError: the folder has no intact checkpoint.
    """
    from pal_plugin.training.checkpoint_folder import newest

    found = newest(args.folder, check=False)
    if found is None:
        raise ConfigError(
            f"{args.folder} has no intact checkpoint; expected a run folder with "
            "checkpoints/step-N, written every run.save_every steps and after each epoch"
        )
    path, state = found
    print(json.dumps(state, indent=2) if args.json else as_text(args.folder, path, state))
    return 0


def as_text(folder: Path, path: Path, state: dict[str, Any]) -> str:
    """The state of a checkpoint as text.

    Args:
        folder: the run folder.
        path: the checkpoint.
        state: of the checkpoint.
    """
    from pal_plugin.config.trained import FINISHED
    from pal_plugin.utils.runtime import duration

    progress = state["progress"]
    stats, streams = progress["stats"], progress["positions"]
    ended = "finished" if (folder / FINISHED).is_file() else "resume with --resume auto"
    taken: Counter[str] = Counter()
    for position in streams.values():
        taken.update(position["taken"])
    shares = [(name, f"{n:,}", f"{n / taken.total():.1%}") for name, n in taken.most_common()]
    lines = [
        f"{path} ({ended})",
        f"epoch {progress['epoch']}, step {progress['step']} ({progress['global_step']} in total), "
        f"{progress['clips']:,} clips, order {progress['order']}, trained for "
        f"{duration(state.get('seconds'))}",
        f"this epoch: loss {stats['loss_sum'] / max(1, stats['steps']):.4f}, "
        f"{stats['left_out']} steps skipped, {len(stats['skipped'])} clips skipped",
        f"{state['world_size']} processes, {state['micros_per_step']} micro-batches per step, "
        f"{state.get('shard_streams', state.get('lanes'))} shard streams",
        "",
        "batches by dataset:",
        indent(text_table(shares, "lr", rule=False), "  "),
        "",
        "shard streams:",
    ]
    for stream, position in sorted(streams.items(), key=lambda entry: int(entry[0])):
        where = "; ".join(f"{n} at {at[0]}" for n, at in position["datasets"].items())
        lines.append(f"  {stream}: {position['place']:,} batches; {where}")
    return "\n".join(lines)
