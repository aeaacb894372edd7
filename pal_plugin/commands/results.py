"""`pal results`: one table of several runs, with confidence intervals."""

from __future__ import annotations

import argparse
from pathlib import Path

from pal_plugin.config.kinds import Number
from pal_plugin.config.ranges import SEED
from pal_plugin.utils.errors import ConfigError

#: Bootstrap samples; each keeps a number per figure.
DRAWS = Number(1, 10**6, whole=True)

HELP = """\
examples:
  pal results output/lal_stage1-20260101-120000
  pal results output/mini_* --figures accuracy --csv --out table.csv
  pal results output/lal_stage1-* output/plits_stage1-* --html page.html --worst

Reads metrics.json, result/*.jsonl, config.yaml and evaluation.json of each run folder, and the
answers of a judge in result/SPLIT.TASK.judged.jsonl. docs/evaluation.md explains the columns.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal results`."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="DIR", help="run folders")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="Markdown tables (default)")
    form.add_argument("--csv", action="store_true", help="CSV: a line per metric, full precision")
    parser.add_argument("--out", type=Path, metavar="FILE", help="output file (default: print)")
    parser.add_argument(
        "--figures", nargs="+", metavar="NAME", help="only these metrics, such as accuracy wer"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with curves and answers to hear"
    )
    about = "on the page, the most wrong answers of the first run (default: right and wrong)"
    parser.add_argument("--worst", action="store_true", help=about)
    about = "bootstrap samples (default: 2000)"
    parser.add_argument("--draws", type=DRAWS.argument, default=2000, help=about)
    about = "seed of the bootstrap (default: 0)"
    parser.add_argument("--seed", type=SEED.argument, default=0, help=about)


def run(args: argparse.Namespace) -> int:
    """Read the runs and print or write their table. Returns the exit code.

    Raises:
        ConfigError: a folder that cannot be read, or no run has the requested metrics.
    """
    if args.worst and args.html is None:
        raise ConfigError("--worst chooses the answers of a page; add --html FILE")
    from pal_plugin.evaluation.results.figures import figures_of
    from pal_plugin.evaluation.results.read import read_runs
    from pal_plugin.evaluation.results.table import comma_separated, markdown

    runs = read_runs(args.runs)
    figures = [
        figure
        for one in runs
        for figure in figures_of(one, draws=args.draws, seed=args.seed, wanted=args.figures)
    ]
    if args.figures and not figures:
        known = sorted({figure.name for one in runs for figure in figures_of(one, draws=1)})
        raise ConfigError(f"no run has {', '.join(args.figures)}; available: {', '.join(known)}")
    if args.html is not None:
        from pal_plugin.training.run_report import write_page

        print(write_page(args.html, runs, figures, worst=args.worst))
        if not (args.csv or args.markdown or args.out):
            return 0
    text = (comma_separated if args.csv else markdown)(runs, figures)
    if args.out is None:
        print(text, end="")
    else:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    return 0
