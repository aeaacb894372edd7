"""Share of padding in training batches: random order against batches of similar length."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import random
import shlex
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import soundfile
from torch.utils.data import Dataset

from benchmarks import report, setting
from pal_plugin.training.streams import Indexed, StreamReader

_EPILOG = """\
examples:
  python -m benchmarks.padding --audio FOLDER...            # the lengths of your own files
  python -m benchmarks.padding --audio speech --uniform 15 30 4000 --pools 1 8 32

what is counted: the audio tokens of a batch are padded to its longest clip; the share of padding in
them, and in full encoder windows, which the encoder computes. Nothing is timed, decoded or trained:
the order is that of training.streams, on lengths only.

results: OUT/padding_DATE.json and .md
"""
SCHEMA = 2


class Lengths(Dataset):
    """Clips represented by their length in seconds."""

    def __init__(self, seconds: Sequence[float]) -> None:
        self.seconds = seconds

    def __len__(self) -> int:
        return len(self.seconds)

    def __getitem__(self, index: int) -> float:
        return self.seconds[index]


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Count, print the table, and return the files written."""
    args = _parser().parse_args(argv)
    seconds = _of_files(args.audio)
    described = []
    if seconds:
        described = [f"{len(seconds)} files, {min(seconds):.2f} to {max(seconds):.2f} s"]
    rng = random.Random(args.seed)
    for low, high, count in args.uniform:
        seconds += [rng.uniform(low, high) for _ in range(int(count))]
        described.append(f"{int(count)} lengths, uniform from {low:g} to {high:g} s")
    if not seconds:
        _parser().error("no lengths: give --audio FOLDER or --uniform LOW HIGH COUNT")
    document = {
        "schema": SCHEMA,
        "command": shlex.join(["python", "-m", "benchmarks.padding", *(argv or sys.argv[1:])]),
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "versions": setting.versions(),
        "lengths": described,
        "window_s": args.window,
        "batch": args.batch,
        "rows": rows(seconds, args.window, args.batch, args.pools, args.seed),
    }
    text = markdown(document)
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    stem = args.out / f"padding_{datetime.datetime.now():%Y-%m-%d-%H%M}"
    written = [stem.with_suffix(".json"), stem.with_suffix(".md")]
    written[0].write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    written[1].write_text(text, "utf-8")
    return written


def rows(
    seconds: Sequence[float], window_s: float, batch: int, pools: Sequence[int], seed: int
) -> list[dict]:
    """Padding by pool, over four passes: in batches, and in full windows."""
    found = []
    for pool in pools:
        reader = StreamReader(
            {"clips": Indexed(Lengths(seconds), batch, seed)},
            {"clips": list},
            {"clips": 1.0},
            streams=1,
            batch_size=batch,
            pool=pool,
            seed=seed,
            length=float,
        )
        batches = [m.batch for m in islice(reader, 4 * math.ceil(len(seconds) / batch))]
        own = sum(map(sum, batches))
        trimmed = sum(len(b) * max(b) for b in batches)
        windows = sum(len(b) * math.ceil(max(b) / window_s) * window_s for b in batches)
        found.append({"pool": pool, "padded": 1 - own / trimmed, "windows": 1 - own / windows})
    return found


def markdown(document: dict) -> str:
    """The settings, and one table."""
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    columns = {
        "run.length_pool": lambda r: str(r["pool"]),
        "padding": lambda r: f"{r['padded']:.1%}",
        "padding of whole windows": lambda r: f"{r['windows']:.1%}",
    }
    parts = [
        "# Padding of training batches",
        f"`{document['command']}`, {document['date']}; {versions}.",
        f"{'; '.join(document['lengths'])}. Windows of {document['window_s']:g} s, "
        f"{document['batch']} clips a batch, four passes.",
        report.table(columns, document["rows"]),
    ]
    return "\n\n".join(parts) + "\n"


def _of_files(folders: Sequence[Path]) -> list[float]:
    names = {f".{name.lower()}" for name in soundfile.available_formats()}
    files = [f for folder in folders for f in sorted(folder.rglob("*")) if f.suffix in names]
    return [soundfile.info(str(file)).duration for file in files]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.padding",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--audio", nargs="+", type=Path, default=[], metavar="FOLDER", help="folders of clips")
    add(
        "--uniform",
        nargs=3,
        type=float,
        action="append",
        default=[],
        metavar=("LOW", "HIGH", "COUNT"),
        help="add COUNT lengths, uniform from LOW to HIGH seconds",
    )
    add("--window", type=float, default=10.0, help="encoder window in seconds (default: 10)")
    add("--batch", type=setting.at_least(1), default=16, help="clips (default: 16)")
    add("--pools", nargs="+", type=setting.at_least(1), default=[1, 8], help="(default: 1 8)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    return parser


if __name__ == "__main__":
    main()
