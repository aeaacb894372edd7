"""Train every type with every seed, one after the other; rerun it to continue.

    PAL_DATA=FOLDER python projects/pal/mini/run_all.py --types plits lal pal --seeds 0 1 2 \\
        --options run.steps_per_epoch=300

A finished run is a folder `<output>/mini_<type>-seed<n>` with a `finished.json`; it is skipped. The
folder of an interrupted run is renamed to `...-interrupted-<k>`. A finished run with other
--options is an error: the table must not mix recipes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

MINI = Path(__file__).resolve().parent
ROOT = MINI.parents[2]
FINISHED = "finished.json"


def command(kind: str, seed: int, output: Path, options: list[str]) -> list[str]:
    """The training command of one run."""
    return [
        sys.executable,
        str(ROOT / "train.py"),
        "--cfg-path",
        str(MINI / f"{kind}.yaml"),
        "--job-id",
        run_name(kind, seed),
        "--options",
        f"run.seed={seed}",
        f"run.output_dir={output}",
        *options,
    ]


def run_name(kind: str, seed: int) -> str:
    return f"mini_{kind}-seed{seed}"


def is_finished(folder: Path, options: list[str]) -> bool:
    """Whether the run in `folder` is finished.

    Raises:
        ValueError: it is finished, with other options.
    """
    path = folder / FINISHED
    if not path.is_file():
        return False
    made_with = json.loads(path.read_text("utf-8"))["options"]
    if sorted(made_with) != sorted(options):
        raise ValueError(
            f"{folder} was trained with {made_with}, but --options are {options}; give another "
            "--output, or move that folder away"
        )
    return True


def set_aside(folder: Path) -> None:
    """Rename an unfinished run's folder to free its name."""
    if not folder.exists():
        return
    number = 1
    while (aside := folder.with_name(f"{folder.name}-interrupted-{number}")).exists():
        number += 1
    folder.rename(aside)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--types", nargs="+", default=["plits", "lal", "pal"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("output"))
    parser.add_argument("--options", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args(argv)
    for seed in args.seeds:  # outer loop: every type has a first result early
        for kind in args.types:
            folder = args.output.resolve() / run_name(kind, seed)
            try:
                done = is_finished(folder, args.options)
            except ValueError as error:
                print(f"error: {error}", file=sys.stderr)
                return 2
            if done:
                print(f"{folder.name}: already finished", flush=True)
                continue
            set_aside(folder)
            started = time.time()
            code = subprocess.call(
                command(kind, seed, args.output.resolve(), args.options), cwd=ROOT
            )
            if code:
                print(f"{folder.name}: train.py ended with exit code {code}", file=sys.stderr)
                return code
            facts = {"seconds": round(time.time() - started), "options": args.options}
            (folder / FINISHED).write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
            print(f"{folder.name}: {facts['seconds']} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
