"""The evidence of docs/results.md: trainings, costs, and the page itself.

    PAL_DATA=FOLDER python projects/pal/small/results.py run --hours 8  # again until all are done
    PAL_DATA=FOLDER python projects/pal/small/results.py time           # FLOPs and times
    python projects/pal/small/results.py write --baselines output/baselines

`run` trains PLITS, LAL, PAL, both routes and Flamingo's way on small/TYPE + small/evidence, seed by
seed, in OUTPUT/TYPE-seedN; all begin with what `pal train small/align` made. A finished one is
skipped, one that was interrupted resumes exactly, one that was made with other settings is an
error. With --hours, or on SIGTERM, the training that is going saves itself, and the exit code is 75
as long as some are left. `write` makes docs/results.md and its picture from whatever is finished,
and says what is missing.
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
from evidence.runs import SEEDS, plan, recipe, seeds_in, train_all

from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.planning.workload import Workload
from pal_plugin.training.run_folder import resolve_checkpoint
from pal_plugin.utils.errors import DONE, FAILED, INTERRUPTED, UserError
from pal_plugin.utils.files import replace_text, write_json

ROOT = Path(__file__).resolve().parents[3]
COSTS, PICTURE = "costs.json", Path("figures") / "results_curves.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    try:
        return args.step(args)
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return INTERRUPTED


def run(args: argparse.Namespace) -> int:
    """Train what is left, all from the same weights."""
    options = args.options
    if not any(option.startswith("model.checkpoint=") for option in options):
        start = resolve_checkpoint(args.start, "output").resolve()
        options = [f"model.checkpoint={start}", *options]
    return train_all(plan(args.output, args.types, args.seeds), options, args.hours)


def take_time(args: argparse.Namespace) -> int:
    """Count FLOPs and take times, and keep both in OUTPUT/costs.json."""
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
    """Make the page and its picture of what is finished."""
    planned = plan(args.output)
    more = plan(args.output, None, seeds_in(args.output))
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
    missing = [run.folder.name for run in planned if not run.finished]
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
    recipes = argparse.ArgumentParser(add_help=False)
    recipes.add_argument("--types", nargs="+", choices=SEEDS, help="(default: all)")
    recipes.add_argument(
        "--options", nargs="+", default=[], metavar="KEY=VALUE", help="changes to every recipe"
    )
    steps = parser.add_subparsers(required=True, metavar="STEP")

    step = steps.add_parser("run", parents=[shared, recipes], help="train what is left")
    told = ", ".join(f"{kind} {count}" for kind, count in SEEDS.items())
    step.add_argument(
        "--seeds", nargs="+", type=int, metavar="N", help=f"(default: 0, 1, ...; so many: {told})"
    )
    step.add_argument(
        "--start",
        default="latest:small_align",
        metavar="RUN",
        help="whose weights all begin with (default: the newest run of small/align in output/)",
    )
    step.add_argument("--hours", type=float, metavar="H", help="stop and save after so long")
    step.set_defaults(step=run)

    step = steps.add_parser("time", parents=[shared, recipes], help="FLOPs and times")
    step.add_argument("--rounds", type=int, default=10, help="0: FLOPs only (default: 10)")
    step.add_argument("--clips", type=int, default=16, help="of a step (default: 16)")
    step.add_argument(
        "--clip-seconds", type=float, default=5.0, metavar="S", help="of each clip (default: 5)"
    )
    step.add_argument(
        "--text-tokens",
        type=int,
        nargs=2,
        default=(24, 6),
        metavar=("N", "A"),
        help="of prompt and answer, and of the answer alone (default: 24 6)",
    )
    step.set_defaults(step=take_time)

    step = steps.add_parser("write", parents=[shared], help="docs/results.md from what there is")
    step.add_argument(
        "--baselines",
        type=Path,
        metavar="FOLDER",
        help="of mfcc_svm.json, probe.json, cascade.json, ceiling.json, as far as they are there",
    )
    step.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "results.md", help="(default: docs/results.md)"
    )
    step.add_argument(
        "--draws", type=int, default=2000, help="of each bootstrap (default: %(default)s)"
    )
    step.set_defaults(step=write)
    return parser


if __name__ == "__main__":
    sys.exit(main())
