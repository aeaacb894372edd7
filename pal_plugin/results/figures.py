"""Every figure of a run with its interval, and with that of its difference to masked audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pal_plugin.metrics.bootstrap import (
    Interval,
    paired_interval,
    ratio_interval,
    statistic_interval,
)
from pal_plugin.metrics.judge import FORMS
from pal_plugin.results.read import Run
from pal_plugin.tasks.evaluators import EVALUATORS, Evaluator
from pal_plugin.tasks.metrics import by_task, rows_of_entry

_MASKED = "_masked_audio"
#: Bootstrap draws of figures that are computed anew for each (F1, mAP).
_SLOW_DRAWS = 200


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        value: of the split, as `metrics.json` has it.
        interval: over clips; None where a figure has none (BLEU, perplexity).
        masked: the figure with the audio masked.
        difference: value minus masked, with its paired interval: of rows that have both.
        n: rows behind the figure.
        asked: rows of the entry; more than `n` where a judge left some out.
        clips: clips behind the figure.
    """

    run: str
    split: str
    entry: str
    name: str
    value: float | None
    interval: Interval | None
    masked: float | None
    difference: Interval | None
    chance: float | None
    n: int
    asked: int
    clips: int


def figures_of(
    run: Run, *, draws: int = 2000, seed: int = 0, wanted: Sequence[str] | None = None
) -> list[Figure]:
    """All figures of a run, or those that are named in `wanted`.

    Args:
        draws: bootstrap samples; figures that must be computed anew for each get at most 200.
        seed: of the samples.
    """
    found = []
    for split, entries in run.metrics.items():
        for entry, values in _with_judged(run, split, entries).items():
            rows = rows_of_entry(run.rows[split], entry)
            names = [n for n in values if n not in ("n", "chance") and not n.endswith(_MASKED)]
            for name in names:
                if wanted is None or name in wanted:
                    found.append(_figure(run, split, entry, name, values, rows, draws, seed))
    return found


def _with_judged(run: Run, split: str, entries: dict[str, dict]) -> dict[str, dict]:
    """The entries, with figures that a judge gave after the run."""
    entries = {name: dict(values) for name, values in entries.items()}
    for entry, rows in by_task(run.rows[split]).items():
        for key, suffix in (("", ""), ("_masked", _MASKED)):
            judged = [rows[i] for i in _judged(rows, key)] if rows[0]["task"] in FORMS else []
            if judged:
                figures = Evaluator.summarise(judged, key)
                added = {f"{name}{suffix}": value for name, value in figures.items()}
                entries.setdefault(entry, {"n": len(rows)}).update(added)
    return entries


def _figure(
    run: Run,
    split: str,
    entry: str,
    name: str,
    values: dict,
    rows: list[dict],
    draws: int,
    seed: int,
) -> Figure:
    interval = difference = None
    clips = [(row.get("dataset"), row.get("sample_id", row.get("id"))) for row in rows]
    asked = int(values.get("n", len(rows)))
    judged = _judged(rows, "")
    if rows:
        evaluator = EVALUATORS[rows[0]["task"]]
        interval = _interval(evaluator, rows, clips, name, draws, seed)
        if f"{name}{_MASKED}" in values:
            difference = _difference(evaluator, rows, clips, name, draws, seed)
    return Figure(
        run.name,
        split,
        entry,
        name,
        values[name],
        interval,
        values.get(f"{name}{_MASKED}"),
        difference,
        # Chance is that of an entry's first figure: accuracy, mAP.
        values.get("chance") if name in ("accuracy", "accuracy_ranked", "map") else None,
        asked if len(judged) == len(rows) else len(judged),
        asked,
        len({clips[i] for i in judged}),
    )


def _interval(evaluator, rows, clips, name: str, draws: int, seed: int) -> Interval | None:
    counted = _columns(evaluator, rows, "", name)
    if counted is not None:
        tops, bottoms, kept = counted
        return ratio_interval(tops, bottoms, [clips[i] for i in kept], draws=draws, seed=seed)
    statistic = _statistic(evaluator, rows, "", name)
    if statistic is None:
        return None
    return statistic_interval(statistic, clips, draws=min(draws, _SLOW_DRAWS), seed=seed)


def _difference(evaluator, rows, clips, name: str, draws: int, seed: int) -> Interval | None:
    both = sorted({*_judged(rows, "")} & {*_judged(rows, "_masked")})
    rows, clips = [rows[i] for i in both], [clips[i] for i in both]
    heard = _columns(evaluator, rows, "", name)
    masked = _columns(evaluator, rows, "_masked", name)
    if heard is not None and masked is not None:
        return paired_interval(heard[:2], masked[:2], clips, draws=draws, seed=seed)
    first = _statistic(evaluator, rows, "", name)
    second = _statistic(evaluator, rows, "_masked", name)
    if first is None or second is None:
        return None

    def between(index: np.ndarray) -> float | None:
        pair = first(index), second(index)
        return None if None in pair else pair[0] - pair[1]

    return statistic_interval(between, clips, draws=min(draws, _SLOW_DRAWS), seed=seed)


def _judged(rows: list[dict], key: str) -> list[int]:
    """Numbers of the rows that can be counted: all, or those that the judge has scored."""
    judged = bool(rows) and rows[0]["task"] in FORMS
    return [i for i, row in enumerate(rows) if not judged or row.get(f"figures{key}")]


def _columns(
    evaluator: type[Evaluator], rows: list[dict], key: str, name: str
) -> tuple[list[float], list[float], list[int]] | None:
    """Numerators, denominators, and the rows they belong to (a judge may leave some out)."""
    kept = _judged(rows, key)
    found = evaluator.columns([rows[i] for i in kept], key).get(name) if kept else None
    return None if found is None else (*found, kept)


def _statistic(
    evaluator: type[Evaluator], rows: list[dict], key: str, name: str
) -> Callable[[np.ndarray], float | None] | None:
    """The figure of any set of row numbers, None where the rows do not give it."""

    @lru_cache(maxsize=1)  # of the whole set it is asked for twice
    def cached(index: bytes) -> float | None:
        numbers = np.frombuffer(index, dtype=np.int64)
        return evaluator.whole([rows[i] for i in numbers], key).get(name)

    def statistic(index: np.ndarray) -> float | None:
        return cached(np.ascontiguousarray(index, dtype=np.int64).tobytes())

    return statistic if statistic(np.arange(len(rows))) is not None else None
