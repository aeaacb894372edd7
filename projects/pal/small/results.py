"""The evidence of docs/results.md: training runs, costs, and the page itself.

    PAL_DATA=FOLDER python projects/pal/small/results.py run --hours 8  # repeat until all are done
    PAL_DATA=FOLDER python projects/pal/small/results.py time           # FLOPs and times
    python projects/pal/small/results.py write --baselines output/baselines

`run` trains PLITS, LAL, PAL, both routes and Flamingo on small/TYPE + small/evidence, seed by seed,
in OUTPUT/TYPE-seedN; all start from the weights of `pal train small/align`. Of each finished run a
record without weights goes to KEPT, so that another machine goes on with the rest, from the same
start. A finished run is skipped, an interrupted one resumes exactly, one with other settings is an
error. With --hours, or on SIGTERM, the current run saves its state, and the exit code is 75 while
runs are left. `write` makes docs/results.md and its plot from finished runs and records, and lists
the missing ones.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from evidence import costs, curves, page
from evidence.answers import read_finished
from evidence.baselines import read_baselines
from evidence.planned import KEPT, SEEDS, plan, recipe, seeds_in
from evidence.runs import train_all

from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.config.trained import resolve_checkpoint
from pal_plugin.planning.workload import Workload
from pal_plugin.utils.errors import DONE, FAILED, INTERRUPTED, UserError
from pal_plugin.utils.files import replace_text, write_json

ROOT = Path(__file__).resolve().parents[3]
COSTS, PICTURE = "costs.json", Path("figures") / "results_curves.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    try:
        return args.step(args)
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command resumes", file=sys.stderr)
        return INTERRUPTED


def run(args: argparse.Namespace) -> int:
    """Train the remaining runs, all from the same weights. Returns the exit code."""
    options = args.options
    if not any(option.startswith("model.checkpoint=") for option in options):
        start = resolve_checkpoint(args.start, "output").resolve()
        options = [f"model.checkpoint={start}", *options]
    return train_all(plan(args.output, args.types, args.seeds, args.kept), options, args.hours)


def take_time(args: argparse.Namespace) -> int:
    """Count FLOPs and measure times; write both to OUTPUT/costs.json. Returns the exit code."""
    sections = {
        kind: load_config(find_recipes(recipe(kind)), args.options).to_dict()["model"]
        for kind in args.types or SEEDS
    }
    text, answer = args.text_tokens
    work = Workload(args.clips, clip_s=args.clip_seconds, text=text, answer=answer)
    found = costs.report(sections, work, args.rounds)
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(args.output / COSTS, found)
    print(args.output / COSTS)
    return DONE


def write(args: argparse.Namespace) -> int:
    """Write the page and its plot from the finished runs. Returns the exit code."""
    planned = plan(args.output, kept=args.kept)
    more = plan(args.output, None, seeds_in(args.output, args.kept), args.kept)
    runs = read_finished([*planned, *(run for run in more if run not in planned)])
    by_hand = page.kept(args.page)
    counted = args.output / COSTS
    if runs:
        curves.draw(runs, args.page.parent / PICTURE)
    text = page.page(
        runs,
        planned,
        baselines=read_baselines(args.baselines, args.draws),
        costs=json.loads(counted.read_text("utf-8")) if counted.is_file() else None,
        by_hand=by_hand,
        picture=PICTURE.as_posix() if runs else None,
        draws=args.draws,
    )
    replace_text(args.page, text)
    missing = [run.folder.name for run in planned if not run.done]
    count = sum(map(len, runs.values()))
    print(f"{args.page}: {count} runs; missing: {', '.join(missing) or 'none'}")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--output", type=Path, default=Path("output/evidence"), help="(default: %(default)s)"
    )
    records = argparse.ArgumentParser(add_help=False)
    records.add_argument(
        "--kept",
        type=Path,
        default=KEPT,
        help="folder of the records of finished runs (default: benchmarks/results/evidence)",
    )
    recipes = argparse.ArgumentParser(add_help=False)
    recipes.add_argument("--types", nargs="+", choices=SEEDS, help="(default: all)")
    recipes.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="changes to every recipe"
    )
    steps = parser.add_subparsers(required=True, metavar="STEP")

    step = steps.add_parser(
        "run", parents=[shared, records, recipes], help="train the remaining runs"
    )
    counts = ", ".join(f"{kind} {count}" for kind, count in SEEDS.items())
    step.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help=f"(default: 0, 1, ...; number: {counts})"
    )
    step.add_argument(
        "--start",
        default="latest:small_align",
        metavar="RUN",
        help="initial weights of all runs (default: the newest run of small/align in output/)",
    )
    step.add_argument("--hours", type=float, metavar="H", help="save and stop after H hours")
    step.set_defaults(step=run)

    step = steps.add_parser("time", parents=[shared, recipes], help="FLOPs and times")
    step.add_argument("--rounds", type=int, default=10, help="0: FLOPs only (default: 10)")
    step.add_argument("--clips", type=int, default=16, help="clips per step (default: 16)")
    step.add_argument(
        "--clip-seconds", type=float, default=5.0, metavar="S", help="length of a clip (default: 5)"
    )
    step.add_argument(
        "--text-tokens",
        type=int,
        nargs=2,
        default=(24, 6),
        metavar=("N", "A"),
        help="tokens of prompt plus answer, and of the answer (default: 24 6)",
    )
    step.set_defaults(step=take_time)

    step = steps.add_parser("write", parents=[shared, records], help="write docs/results.md")
    step.add_argument(
        "--baselines",
        type=Path,
        metavar="FOLDER",
        help="folder of mfcc_svm.json, probe.json, cascade.json, ceiling.json, each optional",
    )
    step.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "results.md", help="(default: docs/results.md)"
    )
    step.add_argument(
        "--draws", type=int, default=2000, help="bootstrap samples (default: %(default)s)"
    )
    step.set_defaults(step=write)
    return parser


if __name__ == "__main__":
    sys.exit(main())
