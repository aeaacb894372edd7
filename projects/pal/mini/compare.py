"""The results table of the README, from several run folders.

    python projects/pal/mini/compare.py output/mini_*-seed? --svm output/mfcc_svm.json

Reads `config.yaml` (type and seed) and `result/val.jsonl` (one line per clip) of each run folder.
Spread is the standard deviation over seeds (n - 1). LAL against PLITS: paired bootstrap over clips
of each clip's correctness averaged over seeds, all domains pooled, 95 % percentile interval. It is
the spread over clips for these trained models; the spread over seeds is the table's +-.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from pal_plugin.evaluation.metrics.answers import is_correct, normalise

TYPES = ("plits", "lal", "pal")
DRAWS = 10_000
#: (domain, clip id)
ClipId = tuple[str, str]


@dataclass(frozen=True)
class Run:
    """Correctness of one run, 1.0 or 0.0 by clip, with audio and with it masked."""

    name: str
    kind: str
    seed: int
    right: dict[ClipId, float]
    right_masked: dict[ClipId, float]
    reference: dict[ClipId, str]


def read_run(folder: Path) -> Run:
    """Read one run folder.

    Raises:
        ValueError: no results, results of a part of the clips, or without masked audio.
    """
    results = folder / "result" / "val.jsonl"
    if not results.is_file():
        raise ValueError(f"{folder} has no result/val.jsonl; is the run finished?")
    config = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    if config["run"].get("eval_limit"):
        raise ValueError(f"{folder} has a part of the clips (run.eval_limit): evaluate all of them")
    rows = [json.loads(line) for line in results.read_text("utf-8").splitlines()]
    if any("prediction_masked" not in row for row in rows):
        raise ValueError(f"{results} lacks prediction_masked; evaluate with run.masked_audio=true")
    right, right_masked, reference = {}, {}, {}
    for row in rows:
        clip = (row["question_type"], row["id"])
        right[clip] = float(is_correct(row["prediction"], row["answers"]))
        right_masked[clip] = float(is_correct(row["prediction_masked"], row["answers"]))
        reference[clip] = normalise(row["reference"])
    kind, seed = config["model"]["model_type"], int(config["run"]["seed"])
    return Run(folder.name, kind, seed, right, right_masked, reference)


def check_runs(runs: list[Run]) -> None:
    """Check that all runs have the same clips, and that no type has a seed twice.

    Raises:
        ValueError: names the runs that do not match.
    """
    for run in runs[1:]:
        if run.reference != runs[0].reference:
            raise ValueError(f"{run.name} and {runs[0].name} were not evaluated on the same clips")
    for (kind, seed), count in Counter((run.kind, run.seed) for run in runs).items():
        if count > 1:
            raise ValueError(f"{count} runs of type {kind} with seed {seed}; give one")


def accuracies(runs: list[Run], domain: str | None, masked: bool = False) -> list[float]:
    """Accuracy of each run on a domain (None: all clips pooled)."""
    found = []
    for run in runs:
        right = run.right_masked if masked else run.right
        found.append(statistics.fmean(v for (d, _), v in right.items() if domain in (None, d)))
    return found


def mean_and_spread(values: list[float]) -> str:
    """`mean ± standard deviation` in percent; the mean for one value, - for none."""
    if not values:
        return "-"
    text = f"{100 * statistics.fmean(values):.1f}"
    return text if len(values) == 1 else f"{text} ± {100 * statistics.stdev(values):.1f}"


def chance(references: list[str]) -> float:
    """Share of the largest class."""
    return max(Counter(references).values()) / len(references)


def paired_bootstrap(first: list[Run], second: list[Run], seed: int = 0) -> dict[str, float]:
    """`{"difference", "low", "high"}` of the pooled accuracy, first minus second.

    Clips are resampled, seeds are averaged.
    """
    clips = sorted(first[0].right)
    per_clip = [
        np.mean([[run.right[clip] for clip in clips] for run in runs], axis=0)
        for runs in (first, second)
    ]
    differences = per_clip[0] - per_clip[1]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(clips), size=(DRAWS, len(clips)))
    low, high = np.quantile(differences[drawn].mean(axis=1), [0.025, 0.975])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}


def table(runs: list[Run], svm: dict[str, dict] | None = None) -> str:
    """Markdown table: a row per domain and one for all clips, then LAL against PLITS."""
    by_kind = defaultdict(list)
    for run in runs:
        by_kind[run.kind].append(run)
    kinds = [k for k in TYPES if k in by_kind] + sorted(by_kind.keys() - set(TYPES))
    names = [kind.upper() for kind in kinds]
    head = ["domain", "clips", *names, *(f"{n}, audio masked" for n in names), "chance", "MFCC+SVM"]
    lines = [_line(head), _line(["---"] + ["---:"] * (len(head) - 1))]
    domains = list(dict.fromkeys(domain for domain, _ in runs[0].reference))
    levels, plain, sizes = [], [], []
    for domain in domains:
        references = [r for (d, _), r in runs[0].reference.items() if d == domain]
        sizes.append(len(references))
        levels.append(chance(references))
        plain.append((svm or {}).get(domain, {}).get("accuracy"))
        lines.append(_row(domain, by_kind, kinds, domain, sizes[-1], levels[-1], plain[-1]))
    # A model that never listens may answer each domain by its most frequent class.
    level = np.average(levels, weights=sizes)
    whole = None if None in plain else np.average(plain, weights=sizes)
    lines.append(_row("all clips", by_kind, kinds, None, sum(sizes), level, whole))
    seeds = ", ".join(f"{k.upper()} {len(by_kind[k])}" for k in kinds)
    lines += ["", f"Accuracy in percent, mean ± standard deviation over seeds ({seeds})."]
    if by_kind["lal"] and by_kind["plits"]:
        found = paired_bootstrap(by_kind["lal"], by_kind["plits"])
        lines.append(
            "LAL minus PLITS, {} pooled clips, paired bootstrap: {:+.1f} points, 95 % interval "
            "[{:+.1f}, {:+.1f}].".format(
                len(runs[0].right), *(100 * found[k] for k in ("difference", "low", "high"))
            )
        )
    return "\n".join(lines)


def _row(
    name: str,
    by_kind: dict[str, list[Run]],
    kinds: list[str],
    domain: str | None,
    clips: int,
    level: float,
    plain: float | None,
) -> str:
    cells = [name, str(clips)]
    for masked in (False, True):
        cells += [mean_and_spread(accuracies(by_kind[k], domain, masked)) for k in kinds]
    return _line([*cells, f"{100 * level:.1f}", "-" if plain is None else f"{100 * plain:.1f}"])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--svm", type=Path, help="output of mfcc_svm.py")
    args = parser.parse_args(argv)
    try:
        runs = [read_run(folder) for folder in args.runs]
        check_runs(runs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    svm = json.loads(args.svm.read_text("utf-8")) if args.svm else None
    print(table(runs, svm))
    return 0


if __name__ == "__main__":
    sys.exit(main())
