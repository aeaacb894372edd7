"""The figures as tables in Markdown. Accuracies are percent, error rates shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evidence.answers import (
    RANKED,
    SAID,
    WER,
    Answers,
    Difference,
    Group,
    Measured,
    difference,
    groups,
    mean_and_spread,
    measure,
)
from evidence.baselines import Baselines
from pal_plugin.evaluation.metrics.bootstrap import Interval
from pal_plugin.utils.tables import markdown_table

LABELS = {"plits": "PLITS", "lal": "LAL", "pal": "PAL", "both": "both", "flamingo": "Flamingo"}
REFERENCE = "plits"
#: Figure, the task that has it, and what the tables call it.
FIGURES = {
    RANKED: ("classification", "ranking"),
    SAID: ("classification", "said answer"),
    WER: ("transcript", "WER"),
}
Runs = Mapping[str, Sequence[Answers]]


def of_figure(runs: Runs, figure: str, draws: int) -> str:
    """A row for each group of questions, a column for each type; "" where nobody has the figure."""
    rows, masked = [], []
    for group in _groups(runs, figure):
        found = [measure(of_kind, group, figure, draws) for of_kind in runs.values()]
        if not any(found):
            continue
        level = "-" if group.chance is None else f"{100 * group.chance:.1f}"
        rows.append([group.name, str(group.clips), *(cell(m, figure) for m in found), level])
        masked.append([group.name, *(_masked_cell(m, figure) for m in found)])
    if not rows:
        return ""
    names = [LABELS[kind] for kind in runs]
    head = ["", "clips", *names, "chance"]
    if figure == WER:
        head, rows = head[:-1], [row[:-1] for row in rows]
    tables = [markdown_table([head, *rows], "lr"), "With the audio masked:"]
    return "\n\n".join([*tables, markdown_table([["", *names], *masked], "lr")])


def of_differences(found: Mapping[str, Mapping[str, Difference]]) -> str:
    """Each type minus PLITS: a row for a type, a column for a figure."""
    figures = [f for f in FIGURES if any(f in of_kind for of_kind in found.values())]
    head = ["minus PLITS", "seeds", *(FIGURES[figure][1] for figure in figures)]
    rows = [
        [
            LABELS[kind],
            str(len(next(iter(of_kind.values())).seeds)),
            *(_signed(of_kind[f].interval, f) if f in of_kind else "-" for f in figures),
        ]
        for kind, of_kind in found.items()
        if of_kind
    ]
    return markdown_table([head, *rows], "lr") if rows else ""


def differences(runs: Runs, draws: int) -> dict[str, dict[str, Difference]]:
    """Of all clips of a task pooled, by type and figure."""
    found: dict[str, dict[str, Difference]] = {}
    for kind in runs:
        if kind == REFERENCE or REFERENCE not in runs:
            continue
        pairs = {
            figure: difference(runs[kind], runs[REFERENCE], pooled, figure, draws)
            for figure in FIGURES
            for pooled in _groups(runs, figure)[-1:]
        }
        found[kind] = {figure: pair for figure, pair in pairs.items() if pair is not None}
    return found


def of_baselines(runs: Runs, baselines: Baselines) -> str:
    """A row for each baseline, a column for each domain; "" without any."""
    if not baselines.rows:
        return ""
    domains = list(dict.fromkeys(name for row in baselines.rows for name in row.figures))
    known = {g.keys[0][2]: g for g in _groups(runs, RANKED) if len(g.keys) == 1}
    domains.sort(key=lambda name: list(known).index(name) if name in known else len(known))
    head = ["", *(known[d].name if d in known else d for d in domains)]
    rows = []
    for row in baselines.rows:
        cells = []
        for domain in domains:
            if domain not in row.figures:
                cells.append("-")
                continue
            interval, count = row.figures[domain]
            part = f" ({count} clips)" if domain in known and known[domain].clips != count else ""
            cells.append(f"{100 * interval.value:.1f} {limits(interval, RANKED)}{part}")
        rows.append([row.name, *cells])
    return markdown_table([head, *rows], "lr")


def cell(measured: Measured | None, figure: str) -> str:
    """Mean ± standard deviation over seeds, and the interval over recordings."""
    if measured is None:
        return "-"
    text = _mean(measured.values, figure)
    return f"{text} {limits(measured.interval, figure)}" if measured.interval else text


def limits(interval: Interval, figure: str) -> str:
    """`[low, high]` in the unit of a figure."""
    return f"[{number(interval.low, figure)}, {number(interval.high, figure)}]"


def number(value: float, figure: str, sign: str = "") -> str:
    """Percent with one digit, or an error rate with three."""
    return f"{value:{sign}.3f}" if figure == WER else f"{100 * value:{sign}.1f}"


def _signed(interval: Interval, figure: str) -> str:
    low, high = (number(value, figure, "+") for value in (interval.low, interval.high))
    return f"{number(interval.value, figure, '+')} [{low}, {high}]"


def _masked_cell(measured: Measured | None, figure: str) -> str:
    return "-" if measured is None or not measured.masked else _mean(measured.masked, figure)


def _mean(values: Sequence[float], figure: str) -> str:
    mean, spread = mean_and_spread(values)
    text = number(mean, figure)
    return text if spread is None else f"{text} ± {number(spread, figure)}"


def _groups(runs: Runs, figure: str) -> list[Group]:
    some = next(iter(runs.values()), None)
    return groups(some[0], FIGURES[figure][0]) if some else []
