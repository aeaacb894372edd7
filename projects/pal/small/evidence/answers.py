"""The answers of finished runs, and the figures that they give with their intervals."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from evidence.planned import SEEDS, Planned
from evidence.records import MASKED, record_of, require_alike
from pal_plugin.evaluation.evaluators import evaluator_class
from pal_plugin.evaluation.metrics.bootstrap import Interval, paired_interval, ratio_interval
from pal_plugin.utils.errors import ConfigError

_SPLITS_FILE = Path(__file__).resolve().parents[2] / "mini" / "splits.csv"
RANKED, SAID, WER = "accuracy", "accuracy_said", "wer"
#: Dataset, task and type of question, and what the tables call it.
NAMES = {
    ("pal_mini", "classification", "esc10"): "ESC-10",
    ("pal_mini", "classification", "instruments"): "instruments",
    ("pal_mini", "classification", "digits"): "digits, by take",
    ("pal_mini", "classification", "digits_unseen_speaker"): "digits, unseen speaker",
    ("pal_spoken", "classification", "spoken_digits"): "digits, synthetic voices",
    ("pal_spoken", "transcript", "transcript"): "sentences",
    ("pal_spoken", "transcript", "word_sequence"): "words in no order",
}


@dataclass(frozen=True)
class Group:
    """Questions that are counted together.

    Attributes:
        name: in the tables.
        keys: dataset, task and type of question of each part.
        clips: how many.
        chance: what a model that never listens can reach; None where that is not known.
    """

    name: str
    keys: tuple[tuple[str, str, str], ...]
    clips: int
    chance: float | None


class Answers:
    """What one finished run answered, from its record.

    Attributes:
        rows: in an order that is the same for all runs.
        curve: recent loss by step.
        experiment: its settings, flat.
    """

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.name, self.kind, self.seed = record["name"], record["kind"], record["seed"]
        self.experiment = record["experiment"]
        self.rows = sorted(record["rows"], key=lambda row: (_key(row), row["id"]))
        self.curve = {int(step): loss for step, loss in record["curve"].items()}

    @cached_property
    def asked(self) -> list[tuple]:
        """All questions with what is right."""
        return [(_key(row), row["id"], row["question"], row["reference"]) for row in self.rows]

    def of(self, group: Group) -> list[dict[str, Any]]:
        """The rows of a group."""
        return [row for row in self.rows if _key(row) in group.keys]


@dataclass(frozen=True)
class Measured:
    """A figure of one type.

    Attributes:
        values: one per seed.
        interval: of their mean, over recordings; None where there is nothing to count.
        masked: the same with the audio masked, one per seed.
    """

    values: list[float]
    interval: Interval | None
    masked: list[float]


@dataclass(frozen=True)
class Difference:
    """One type's figure minus another's, on the same clips and seeds.

    Attributes:
        by_seed: of each seed alone.
        interval: of their mean, over recordings.
    """

    seeds: list[int]
    by_seed: list[float]
    interval: Interval


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row.get("dataset", ""), row["task"], row["question_type"]


def read_finished(runs: Sequence[Planned]) -> dict[str, list[Answers]]:
    """Those of `runs` that are done by type, seeds in order.

    Raises:
        ConfigError: results that cannot be read, or runs that were not trained and asked alike.
    """
    records = [record_of(run) for run in runs if run.done]
    found = [Answers(record) for record in records]
    for record, answers in zip(records[1:], found[1:], strict=True):
        require_alike(records[0], record)
        if found[0].asked != answers.asked:
            raise ConfigError(
                f"{found[0].name} and {answers.name} were not asked the same: "
                f"{len(found[0].asked)} and {len(answers.asked)} questions, or others"
            )
    by_kind = {kind: [a for a in found if a.kind == kind] for kind in SEEDS}
    return {
        kind: sorted(of_kind, key=lambda a: a.seed) for kind, of_kind in by_kind.items() if of_kind
    }


def groups(answers: Answers, task: str) -> list[Group]:
    """The groups of a task, and all of them together where there are several."""
    keys = list(dict.fromkeys(_key(row) for row in answers.rows if row["task"] == task))
    known = list(NAMES)
    keys.sort(key=lambda key: known.index(key) if key in known else len(known))
    parts = [_group(answers, NAMES.get(key, "/".join(filter(None, key))), (key,)) for key in keys]
    if len(parts) < 2:
        return parts
    total = sum(part.clips for part in parts)
    # A model that never listens may answer each group by its own most frequent answer.
    chances = [part.chance for part in parts]
    chance = None
    if None not in chances:
        chance = sum(c * p.clips for c, p in zip(chances, parts, strict=True)) / total
    return [*parts, Group("all", tuple(keys), total, chance)]


def _group(answers: Answers, name: str, keys: tuple) -> Group:
    rows = [row for row in answers.rows if _key(row) in keys]
    chance = evaluator_class(rows[0]["task"]).chance(rows)
    return Group(name, keys, len(rows), chance)


def measure(runs: Sequence[Answers], group: Group, figure: str, draws: int) -> Measured | None:
    """A figure of all seeds of a type; None where the answers do not give it.

    Recordings are resampled with all seeds' answers about them, so the interval is that of the mean
    over seeds for these trained models.
    """
    heard, masked = ([_ratios(run, group, figure, key) for run in runs] for key in ("", MASKED))
    if None in heard:
        return None
    interval = ratio_interval(*_joined(heard), _recordings(runs, group), draws=draws)
    silent = [] if None in masked else [_value(ratio) for ratio in masked]
    return Measured([_value(ratio) for ratio in heard], interval, silent)


def difference(
    first: Sequence[Answers], second: Sequence[Answers], group: Group, figure: str, draws: int
) -> Difference | None:
    """The first type minus the second, by the seeds that both have; None without any."""
    seeds = sorted({run.seed for run in first} & {run.seed for run in second})
    pairs = [
        [run for seed in seeds for run in runs if run.seed == seed] for runs in (first, second)
    ]
    ratios = [[_ratios(run, group, figure, "") for run in runs] for runs in pairs]
    if not seeds or any(None in of_type for of_type in ratios):
        return None
    interval = paired_interval(*map(_joined, ratios), _recordings(pairs[0], group), draws=draws)
    by_seed = [_value(mine) - _value(theirs) for mine, theirs in zip(*ratios, strict=True)]
    return None if interval is None else Difference(seeds, by_seed, interval)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the standard deviation (n - 1) where there are several."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


Ratios = tuple[list[float], list[float]]


def _ratios(run: Answers, group: Group, figure: str, key: str) -> Ratios | None:
    rows = run.of(group)
    return evaluator_class(rows[0]["task"]).columns(rows, key).get(figure)


def _joined(ratios: Sequence[Ratios]) -> Ratios:
    tops, bottoms = zip(*ratios, strict=True)
    return [v for part in tops for v in part], [v for part in bottoms for v in part]


def _value(ratio: Ratios) -> float:
    return sum(ratio[0]) / sum(ratio[1])


def _recordings(runs: Sequence[Answers], group: Group) -> list[tuple]:
    """What each answer is about; clips that were cut from one recording are one."""
    cut = _cut_from()
    return [
        (_key(row)[0], cut.get(row["sample_id"], row["sample_id"]))
        for run in runs
        for row in run.of(group)
    ]


@cache
def _cut_from() -> dict[str, tuple[str, str]]:
    """Recordings by the file name of a clip. A take of a digit is a recording of its own; the group
    there is its speaker."""
    with _SPLITS_FILE.open(newline="", encoding="utf-8") as file:
        return {
            Path(row["filename"]).name: (row["domain"], row["group"])
            for row in csv.DictReader(file)
            if row["domain"] != "digits"
        }
