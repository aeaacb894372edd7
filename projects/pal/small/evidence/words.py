"""What the differences say about two papers: text that is filled with computed statements only."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from evidence.answers import WER, Difference
from evidence.tables import FIGURES, LABELS, limits, number
from pal_plugin.evaluation.metrics.bootstrap import Interval

BETTER, WORSE, OPEN = "better", "worse", "open"
WIDTH = 100
_SUBJECTS = {**LABELS, "both": "Both routes"}
PAPER = "The paper (arXiv 2506.10423) finds LAL at least as good as PLITS."
STUDY = (
    "The authors' later study on vision (arXiv 2606.20077) finds PLITS slightly better than LAL, "
    "both routes together best, and Flamingo's way far behind."
)
Differences = Mapping[str, Mapping[str, Difference]]


def verdict(pair: Difference, figure: str) -> str:
    """Whether the type is better than PLITS, worse, or open: the interval, which is of clips alone,
    holds 0, or a seed points the other way."""
    value = pair.interval.value
    if _holds_0(pair) or any(of_seed * value <= 0 for of_seed in pair.by_seed):
        return OPEN
    return BETTER if (value > 0) != (figure == WER) else WORSE


def statements(found: Differences) -> str:
    """Paragraphs on both papers; says what is missing where a type is."""
    paper = [PAPER, _stated("lal", found), _on_paper(found.get("lal", {}))]
    study = [STUDY, *(_stated(kind, found) for kind in ("both", "flamingo")), _on_study(found)]
    return "\n\n".join(wrapped(" ".join(filter(None, part))) for part in (paper, study))


def wrapped(text: str) -> str:
    """A paragraph in lines of at most `WIDTH`; no word is broken."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def _stated(kind: str, found: Differences) -> str:
    """One sentence with all figures of a type."""
    if not found.get(kind):
        return f"{_SUBJECTS[kind]}: there are no runs yet to set beside PLITS."
    parts = []
    for figure, pair in found[kind].items():
        interval, unit = pair.interval, "" if figure == WER else " points"
        signed = number(interval.value, figure, "+")
        told = verdict(pair, figure)
        if told == OPEN:
            why = "the interval holds 0" if _holds_0(pair) else "seeds point both ways"
            told = f"{why}, no difference is shown"
        name = FIGURES[figure][1]
        parts.append(f"{name} {signed}{unit} {limits(interval, figure)} ({told})")
    return f"{_SUBJECTS[kind]} minus PLITS here: {'; '.join(parts)}."


def _on_paper(lal: Mapping[str, Difference]) -> str:
    if not lal:
        return ""
    by_verdict = _by_verdict(lal)
    if by_verdict[WORSE]:
        return f"By {_names(by_verdict[WORSE])} that does not hold here."
    holding = [f for f in by_verdict[OPEN] if _holds_0(lal[f])]
    unknown = [f"{_deficit(lal[f].interval, f)} by {FIGURES[f][1]}" for f in holding]
    bound = f" A deficit of up to {_and(unknown)} is not excluded." if unknown else ""
    if by_verdict[BETTER]:
        return f"That agrees, by {_names(by_verdict[BETTER])}.{bound}"
    return f"Nothing here contradicts it, and nothing shows it either.{bound}"


def _on_study(found: Differences) -> str:
    lines = []
    for kind, claim, expected in (
        ("lal", "PLITS better than LAL", WORSE),
        ("both", "both routes better than PLITS", BETTER),
        ("flamingo", "Flamingo behind PLITS", WORSE),
    ):
        if not found.get(kind):
            continue
        by_verdict = _by_verdict(found[kind])
        against = by_verdict[BETTER if expected == WORSE else WORSE]
        parts = [
            *([f"seen by {_names(by_verdict[expected])}"] if by_verdict[expected] else []),
            *([f"not shown by {_names(by_verdict[OPEN])}"] if by_verdict[OPEN] else []),
            *([f"the opposite is seen by {_names(against)}"] if against else []),
        ]
        lines.append(f"{claim}: {', '.join(parts)}")
    return f"Of its findings, {'; '.join(lines)}." if lines else ""


def _holds_0(pair: Difference) -> bool:
    return pair.interval.low <= 0 <= pair.interval.high


def _by_verdict(pairs: Mapping[str, Difference]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {BETTER: [], WORSE: [], OPEN: []}
    for figure, pair in pairs.items():
        found[verdict(pair, figure)].append(figure)
    return found


def _deficit(interval: Interval, figure: str) -> str:
    """The worst that the interval holds, as a positive number."""
    worst = interval.high if figure == WER else -interval.low
    return number(worst, figure) + ("" if figure == WER else " points")


def _names(figures: list[str]) -> str:
    return _and([FIGURES[figure][1] for figure in figures])


def _and(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
