"""Rows, JSON and tables from counts and times.

A row is one variant in one cell (phase, tuning, m). On a CPU rows have ratios only: absolute times
of a shared machine are not transferable.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.counting import Count
from benchmarks.timing import OK, Measured
from benchmarks.variants import BASELINE, FLOOR, LABELS

PHASES = {
    "train": "Training step",
    "prefill": "Time to the first token",
    "decode": "One more token",
}
SCHEMA = 1
COUNTED = "counted"  # status of rows that were not timed
_MIB = 2**20


def cell_rows(
    cell: dict,
    counts: dict[str, Count],
    measured: dict[str, Measured],
    absolute: bool,
) -> list[dict]:
    """The rows of one cell.

    Args:
        cell: "phase", "tuning", "m", "n", "batch"; added to every row.
        counts: by variant, including text-only and PLITS.
        measured: by variant; empty if nothing was timed.
        absolute: whether to include seconds.
    """
    phase = cell["phase"]

    def seconds(name: str) -> list[float]:
        return measured[name].seconds.get(phase, []) if name in measured else []

    rows = []
    for name, count in counts.items():
        found = measured.get(name, Measured(status=COUNTED))
        own = seconds(name)
        ceiling = counts[BASELINE].flops / count.flops
        faster = ratio(seconds(BASELINE), own)
        row = {
            **cell,
            "variant": name,
            "status": found.status,
            "flops": count.flops,
            "flops_over_text": count.flops / counts[FLOOR].flops,
            "flop_ceiling_over_plits": ceiling,
            "time_over_text": ratio(own, seconds(FLOOR)),
            "speed_over_plits": faster,
            "share_of_ceiling": faster and faster["median"] / ceiling,
            "saved_bytes": count.saved_bytes,
            "saved_over_text": _share(count.saved_bytes, counts[FLOOR].saved_bytes),
            "saved_over_plits": _share(count.saved_bytes, counts[BASELINE].saved_bytes),
            "held_bytes": count.held_bytes,
            "held_over_text": _share(count.held_bytes, counts[FLOOR].held_bytes),
            "held_over_plits": _share(count.held_bytes, counts[BASELINE].held_bytes),
            "gpu_held_bytes": found.held_bytes,
            "gpu_peak_bytes": found.peak_bytes,
            "kernels": found.kernels,
        }
        if absolute:
            row["seconds"] = spread(own)
            row["per_second"] = cell["batch"] / row["seconds"]["median"] if own else None
        rows.append(row)
    return rows


def write(document: dict, stem: Path, text: str | None = None) -> list[Path]:
    """Write `<stem>.json` and `<stem>.md` (`text`, default `markdown(document)`)."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(stem.name + end) for end in (".json", ".md")]
    paths[0].write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    paths[1].write_text(text or markdown(document), "utf-8")
    return paths


def markdown(document: dict) -> str:
    """The document as Markdown: settings, and a table per phase and tuning."""
    shape = ", ".join(f"{k} {v}" for k, v in document["shape"].items() if k != "name")
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    parts = [
        f"# Efficiency: {document['shape']['name']} on {document['device']['name']}",
        *([f"**{document['warning']}**"] if document.get("warning") else []),
        f"`{document['command']}`, {document['date']}; {versions}.\n\n{shape}.",
        "\n".join(f"- {line}" for line in document["conventions"]),
    ]
    tables: dict[tuple, list[dict]] = {}
    for row in document["rows"]:
        tables.setdefault((row["phase"], row["tuning"]), []).append(row)
    for (phase, tuning), rows in tables.items():
        tuned = f", {tuning}" if tuning else ""
        size = f"batch {rows[0]['batch']}, n = {rows[0]['n']}"
        parts.append(f"## {PHASES[phase]}{tuned} ({size})\n\n{_table(rows)}")
    return "\n\n".join(parts) + "\n"


def _table(rows: list[dict]) -> str:
    columns = {
        "m": lambda r: str(r["m"]),
        "variant": lambda r: LABELS[r["variant"]],
        "GFLOP": lambda r: _four_digits(r["flops"] / 1e9),
        "FLOPs / text": lambda r: f"{r['flops_over_text']:.2f}",
        "time / text": lambda r: with_spread(r["time_over_text"]) or _why_not(r),
        "PLITS's FLOPs / own (ceiling)": lambda r: f"{r['flop_ceiling_over_plits']:.2f}",
        "times as fast as PLITS": lambda r: with_spread(r["speed_over_plits"]),
        "of ceiling": lambda r: _format(r["share_of_ceiling"], "{:.0%}"),
        "saved MiB": lambda r: _format(r["saved_bytes"], "{:,.1f}", _MIB),
        "saved / text": lambda r: _format(r["saved_over_text"], "{:.2f}"),
        "held MiB": lambda r: _format(r["held_bytes"], "{:,.1f}", _MIB),
        "held / text": lambda r: _format(r["held_over_text"], "{:.2f}"),
        "held / PLITS": lambda r: _format(r["held_over_plits"], "{:.2f}"),
        "GPU held MiB": lambda r: _format(r["gpu_held_bytes"], "{:,.0f}", _MIB),
        "GPU peak MiB": lambda r: _format(r["gpu_peak_bytes"], "{:,.0f}", _MIB),
        "ms": lambda r: with_spread(r.get("seconds"), 1e3),
        "per second": lambda r: _format(r.get("per_second"), "{:,.1f}"),
        "attention": lambda r: r.get("kernels") or "",
    }
    return table(columns, rows)


def table(columns: dict[str, Callable[[dict], str]], rows: list[dict]) -> str:
    """A Markdown table without empty columns; the first two columns are text."""
    cells = {name: [tell(row) for row in rows] for name, tell in columns.items()}
    cells = {name: column for name, column in cells.items() if any(column)}
    lines = [list(cells), ["---", "---", *["---:"] * (len(cells) - 2)]]
    lines += [list(line) for line in zip(*cells.values(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(above: list[float], below: list[float]) -> dict[str, float] | None:
    """Median and quartiles of the ratios, each within a round."""
    if not above or not below:
        return None
    return spread([a / b for a, b in zip(above, below, strict=True)])


def spread(values: list[float]) -> dict[str, float] | None:
    """Median and quartiles; None for no values."""
    if not values:
        return None
    if len(values) == 1:
        return {"median": values[0], "q1": values[0], "q3": values[0]}
    q1, median, q3 = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "q1": q1, "q3": q3}


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None


def _format(value: float | None, form: str, unit: float = 1) -> str:
    return "" if value is None else form.format(value / unit)


def with_spread(of: dict[str, float] | None, factor: float = 1) -> str:
    """`median (quartiles)` with three digits; empty for None."""
    if of is None:
        return ""
    q1, median, q3 = (f"{factor * of[k]:.3g}" for k in ("q1", "median", "q3"))
    return f"{median} ({q1}-{q3})"


def _four_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:#.4g}"


def _why_not(row: dict) -> str:
    return "" if row["status"] in (OK, COUNTED) else row["status"].replace("|", " ")
