"""Metrics of a run with confidence intervals, and of their difference to masked audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pal_plugin.evaluation.evaluators import EVALUATORS, Evaluator
from pal_plugin.evaluation.metrics.bootstrap import (
    Interval,
    paired_interval,
    ratio_interval,
    row_weights,
    values_interval,
)
from pal_plugin.evaluation.metrics.judge import FORMS
from pal_plugin.evaluation.results.read import Run
from pal_plugin.evaluation.summary import by_task, rows_of_entry

_MASKED = "_masked_audio"
#: Keys of an entry that are no metrics.
_NO_FIGURES = ("n", "chance", "part")
#: Metrics that an entry's chance level applies to.
_WITH_CHANCE = ("accuracy", "accuracy_said", "accuracy_ranked", "map")
#: Bootstrap samples of metrics that are no ratio of sums (F1, mAP), which are slower.
_SLOW_DRAWS = 200


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        run, split, entry: where the metric is from.
        name: of the metric.
        value: as in `metrics.json`.
        interval: over clips; None where a metric has none (BLEU, perplexity).
        masked: the metric with the audio masked.
        difference: value minus masked, with its paired interval, over rows that have both.
        chance: chance level, where it applies.
        n: rows that the metric is computed from.
        asked: rows of the entry; more than `n` where a judge scored only some.
        clips: clips that the metric is computed from.
        part: share of the split's clips that was evaluated, None for all (`run.eval_limit`).
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
    part: float | None = None


def figures_of(
    run: Run, *, draws: int = 2000, seed: int = 0, wanted: Sequence[str] | None = None
) -> list[Figure]:
    """All metrics of a run, or those named in `wanted`.

    Args:
        run: from `read_run`.
        draws: bootstrap samples; at most 200 are used for F1 and mAP.
        seed: of the bootstrap.
        wanted: names of metrics; None: all.
    """
    found = []
    for split, entries in run.metrics.items():
        for entry, values in _with_judged(run, split, entries).items():
            counted = _Counted(rows_of_entry(run.rows[split], entry), draws, seed)
            names = [n for n in values if n not in _NO_FIGURES and not n.endswith(_MASKED)]
            names = [n for n in names if wanted is None or n in wanted]
            found += [_figure(run, split, entry, name, values, counted) for name in names]
    return found


def _with_judged(run: Run, split: str, entries: dict[str, dict]) -> dict[str, dict]:
    """The entries, with scores that a judge gave after the run."""
    entries = {name: dict(values) for name, values in entries.items()}
    for entry, rows in by_task(run.rows[split]).items():
        for key, suffix in (("", ""), ("_masked", _MASKED)):
            judged = [rows[i] for i in _judged(rows, key)] if rows[0]["task"] in FORMS else []
            if judged:
                figures = Evaluator.summarise(judged, key)
                added = {f"{name}{suffix}": value for name, value in figures.items()}
                entries.setdefault(entry, {"n": len(rows)}).update(added)
    return entries


def _figure(run: Run, split: str, entry: str, name: str, values: dict, counted: _Counted) -> Figure:
    asked = int(values.get("n", len(counted.rows)))
    judged = _judged(counted.rows, "")
    masked = f"{name}{_MASKED}"
    return Figure(
        run.name,
        split,
        entry,
        name,
        values[name],
        counted.interval(name, values[name]),
        values.get(masked),
        counted.difference(name, values[name], values[masked]) if masked in values else None,
        values.get("chance") if name in _WITH_CHANCE else None,
        asked if len(judged) == len(counted.rows) else len(judged),
        asked,
        len({counted.clips[i] for i in judged}),
        values.get("part"),
    )


class _Counted:
    """The rows of an entry; what several metrics need is computed once."""

    def __init__(self, rows: list[dict], draws: int, seed: int) -> None:
        self.rows, self.draws, self.seed = rows, draws, seed
        self.clips = [(row.get("dataset"), row.get("sample_id", row.get("id"))) for row in rows]
        self.evaluator = EVALUATORS[rows[0]["task"]] if rows else Evaluator
        self._columns: dict[tuple[str, str], dict] = {}
        self._samples: dict[str, dict[str, np.ndarray]] = {}

    def interval(self, name: str, value: float | None) -> Interval | None:
        """Confidence interval of a metric with this value in `metrics.json`."""
        kept = _judged(self.rows, "")
        ratio = self._ratio("", "", kept).get(name)
        if ratio is not None:
            clips = [self.clips[i] for i in kept]
            return ratio_interval(*ratio, clips, draws=self.draws, seed=self.seed)
        samples = self._resampled("")
        return values_interval(value, samples[name]) if name in samples else None

    def difference(self, name: str, value: float | None, masked: float | None) -> Interval | None:
        """Metric with audio minus without, over the rows that have both, with its interval."""
        both = sorted({*_judged(self.rows, "")} & {*_judged(self.rows, "_masked")})
        ratios = [self._ratio(key, "both", both).get(name) for key in ("", "_masked")]
        if None not in ratios:
            clips = [self.clips[i] for i in both]
            return paired_interval(*ratios, clips, draws=self.draws, seed=self.seed)
        of_heard, of_masked = self._resampled(""), self._resampled("_masked")
        if None in (value, masked) or name not in of_heard or name not in of_masked:
            return None
        return values_interval(value - masked, of_heard[name] - of_masked[name])

    def _ratio(self, key: str, which: str, kept: list[int]) -> dict:
        """Numerators and denominators by metric."""
        if (key, which) not in self._columns:
            rows = [self.rows[i] for i in kept]
            self._columns[key, which] = self.evaluator.columns(rows, key) if rows else {}
        return self._columns[key, which]

    def _resampled(self, key: str) -> dict[str, np.ndarray]:
        """Metrics that are no ratio, in each bootstrap sample."""
        if self.rows and key not in self._samples:
            self._samples[key] = self.evaluator.resampled(self.rows, key, self._weights)
        return self._samples.get(key, {})

    @cached_property
    def _weights(self) -> np.ndarray:
        return row_weights(self.clips, draws=min(self.draws, _SLOW_DRAWS), seed=self.seed)


def _judged(rows: list[dict], key: str) -> list[int]:
    """Indices of the rows that count: all, or those that the judge has scored."""
    judged = bool(rows) and rows[0]["task"] in FORMS
    return [i for i, row in enumerate(rows) if not judged or row.get(f"figures{key}")]
