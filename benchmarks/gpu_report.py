"""Results of `benchmarks/gpu.sh` as one JSON and one Markdown file.

Reads the script's folder: `parts.tsv` (name, outcome, seconds, limit in seconds) and pytest's XML
reports, `NAME.xml`, whose recorded properties are the measurements.
"""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import torch

from benchmarks import report, setting

SCHEMA = 1
_PARTS = ("part", "outcome", "seconds", "limit_s")
_CASE = re.compile(r"(?P<test>\w+)(\[(?P<case>.*)\])?")


def main(argv: list[str] | None = None) -> list[Path]:
    """Run the command line; prints the names of the files written and returns them."""
    args = _parser().parse_args(argv)
    now = datetime.datetime.now().astimezone()
    cases = [case for path in sorted(args.work.glob("*.xml")) for case in read_cases(path)]
    device = setting.device("cpu" if args.rehearsal else "cuda")
    document = {
        "schema": SCHEMA,
        "date": now.isoformat(timespec="minutes"),
        "command": "bash benchmarks/gpu.sh",
        "device": device,
        "versions": setting.versions() | {"cudnn": str(torch.backends.cudnn.version())},
        "parts": read_parts(args.work / "parts.tsv", cases),
        "cases": cases,
    }
    if args.rehearsal:
        document["warning"] = setting.REHEARSAL
    start = "rehearsal_gpu" if args.rehearsal else "gpu"
    stem = args.out / f"{start}_{setting.slug(device['name'])}_{now:%Y-%m-%d-%H%M}"
    written = report.write(document, stem, markdown(document))
    print(summary(document))
    print("\n".join(f"wrote {path}" for path in written))
    return written


def read_parts(path: Path, cases: list[dict]) -> list[dict]:
    """The outcome of each part of the script; skipped if all its cases were skipped."""
    parts = []
    for line in path.read_text("utf-8").splitlines():
        part = dict(zip(_PARTS, line.split("\t"), strict=True))
        outcomes = {case["outcome"] for case in cases if case["part"] == part["part"]}
        if outcomes == {"skipped"}:
            part["outcome"] = "skipped"
        parts.append({**part, "seconds": int(part["seconds"]), "limit_s": int(part["limit_s"])})
    return parts


def read_cases(path: Path) -> Iterator[dict]:
    """The test cases of one XML report: outcome, measurements, and the message of a failure."""
    try:
        found = list(ElementTree.parse(path).iter("testcase"))
    except ElementTree.ParseError:  # pytest was killed while it wrote
        return
    for case in found:
        name = _CASE.match(case.get("name"))
        bad = next((case.find(k) for k in ("failure", "error") if case.find(k) is not None), None)
        skipped = case.find("skipped")
        said = bad if bad is not None else skipped
        figures = {p.get("name"): _number(p.get("value")) for p in case.iter("property")}
        yield {
            "part": path.stem,
            "test": name["test"] if name else case.get("name"),
            "case": (name and name["case"]) or "",
            "outcome": "failed" if bad is not None else "skipped" if said is not None else "passed",
            "seconds": float(case.get("time") or 0),
            "said": "" if said is None else said.get("message") or "",
            "figures": figures,
        }


def summary(document: dict) -> str:
    """Parts and failures."""
    columns = {
        "part": lambda p: p["part"],
        "outcome": lambda p: p["outcome"],
        "seconds": lambda p: str(p["seconds"]),
        "at most": lambda p: str(p["limit_s"]),
        "passed": lambda p: str(len(_of(document, p, "passed")) or ""),
        "failed": lambda p: str(len(_of(document, p, "failed")) or ""),
        "skipped": lambda p: str(len(_of(document, p, "skipped")) or ""),
    }
    failed = [c for c in document["cases"] if c["outcome"] == "failed"]
    parts = [report.table(columns, document["parts"])]
    if failed:
        lines = (f"- `{c['test']}[{c['case']}]`: {_first_line(c['said'])}" for c in failed)
        parts.append("Failed:\n\n" + "\n".join(lines))
    reasons: dict[str, int] = {}
    for case in document["cases"]:
        if case["outcome"] == "skipped":
            reasons[_first_line(case["said"])] = reasons.get(_first_line(case["said"]), 0) + 1
    if reasons:
        lines = (f"- {count}: {reason}" for reason, count in reasons.items())
        parts.append("Skipped:\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def markdown(document: dict) -> str:
    """The summary, and a table for every test with measurements."""
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    parts = [
        f"# Checks on {document['device']['name']}",
        *([f"**{document['warning']}**"] if document.get("warning") else []),
        f"`{document['command']}`, {document['date']}; {versions}.",
        "Errors are relative, ||got - expected|| / ||expected||; attention names torch's fused "
        "kernels, `products` means none. Speed and memory of the ways into an LLM are in the "
        "files `efficiency_...` of the same run.",
        summary(document),
    ]
    told: dict[str, list[dict]] = {}
    for case in document["cases"]:
        if case["figures"]:
            told.setdefault(case["test"], []).append(case)
    parts += [f"## {test}\n\n{_figures(cases)}" for test, cases in told.items()]
    return "\n\n".join(parts) + "\n"


def _figures(cases: list[dict]) -> str:
    names = dict.fromkeys(name for case in cases for name in case["figures"])
    columns = {"case": lambda c: c["case"], "outcome": lambda c: c["outcome"]}
    columns |= {n: lambda c, n=n: _digits(c["figures"].get(n)) for n in names}
    return report.table(columns, cases)


def _of(document: dict, part: dict, outcome: str) -> list[dict]:
    cases = document["cases"]
    return [c for c in cases if (c["part"], c["outcome"]) == (part["part"], outcome)]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _digits(value: float | str | None) -> str:
    return "" if value is None else f"{value:.3g}" if isinstance(value, float) else value


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:200]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_report", description=__doc__)
    parser.add_argument("work", type=Path, help="the script's working folder")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--rehearsal", action="store_true", help="a CPU run: not a measurement")
    return parser


if __name__ == "__main__":
    sys.exit(not main())
