"""Which answers of an evaluation a report shows: a mixture, or the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import chain, zip_longest
from statistics import median
from typing import Any

from pal_plugin.evaluation.evaluators import EVALUATORS
from pal_plugin.evaluation.summary import by_task

#: Answers in a report.
COUNT = 20

Example = tuple[str, dict[str, Any]]


def choose(
    rows: Mapping[str, Sequence[dict]], *, worst: bool = False, count: int = COUNT
) -> list[Example]:
    """`(split, row)` of `count` rows with a generated or ranked answer, in turns from each task.

    The choice depends on the rows alone, not on their order.

    Args:
        rows: answered rows by split.
        worst: the most wrong of each task first (of equally wrong ones, the most certain); else
            right and wrong ones in turns, drawn by the digests of their ids.
        count: of examples; fewer if there are fewer answers.
    """
    groups = []
    for split, of_split in rows.items():
        for group in by_task(of_split).values():
            answered = [row for row in group if answer_of(row) is not None]
            ordered = _worst(answered) if worst else _mixed(answered)
            groups.append([(split, row) for row in ordered])
    turns = chain.from_iterable(zip_longest(*groups))
    return [example for example in turns if example is not None][:count]


def readable(rows: Sequence[Any]) -> bool:
    """Whether rows have what a report shows; another task's (of a host, or your own) may not."""
    needed = {"id", "sample_id", "task", "question_type", "question", "reference"}
    return all(
        isinstance(row, dict) and needed <= row.keys() and row["task"] in EVALUATORS for row in rows
    )


def answer_of(row: Mapping[str, Any], key: str = "") -> str | None:
    """The text that the model said, or else its choice; None if it was not asked for one.

    Args:
        row: answered.
        key: suffix of the columns: "" or "_masked".
    """
    said = row.get(f"said{key}")
    return row.get(f"prediction{key}") if said is None else said


def wrongness(row: dict) -> float | None:
    """How wrong an answer is: 0 or 1, the word error rate, or the loss; None: not known.

    Comparable within a task.
    """
    columns = EVALUATORS[row["task"]].columns([row], "")
    for name, right in (("accuracy", 1.0), ("micro_f1_said", 1.0), ("wer", 0.0), ("loss", 0.0)):
        if name in columns:
            (top,), (bottom,) = columns[name]
            return abs(right - top / bottom) if bottom else None
    return None


def _worst(rows: Sequence[dict]) -> list[dict]:
    def rank(row: dict) -> tuple[float, float, str]:
        sure = (row.get("ranked") or [["", 0.0]])[0][1]
        return -(wrongness(row) or 0.0), -sure, _digest(row)

    return sorted(rows, key=rank)


def _mixed(rows: Sequence[dict]) -> list[dict]:
    wrong = {id(row): wrongness(row) for row in rows}
    known = [value for value in wrong.values() if value is not None]
    middle = median(known) if known and not set(known) <= {0.0, 1.0} else 0.5
    halves: tuple[list[dict], list[dict]] = ([], [])
    for row in sorted(rows, key=_digest):
        halves[(wrong[id(row)] or 0.0) > middle].append(row)
    turns = chain.from_iterable(zip_longest(*halves))
    return [row for row in turns if row is not None]


def _digest(row: dict) -> str:
    name = f"{row.get('dataset')}|{row['question_type']}|{row['id']}"
    return sha256(name.encode()).hexdigest()
