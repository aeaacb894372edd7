"""The evaluator interface: answer the rows of one task, and compute metrics from answered rows.

Metrics are ratios of sums over rows wherever possible: a row keeps its own numerator and
denominator, so that the metric of any set of rows (a question type, a bootstrap sample, the shares
of several processes) needs no further model call.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pal_plugin.batch import take_rows
from pal_plugin.evaluation.metrics.answers import is_correct, largest_share
from pal_plugin.utils.errors import ConfigError

Rows = Sequence[dict[str, Any]]
#: By metric, the numerators and denominators of all rows.
Columns = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class GenerationSettings:
    """How answers are generated.

    Args:
        max_new_tokens: length limit of an answer.
        generation: other arguments of the model's `generate`; None keeps its default.
        seed: of sampling, if `do_sample` is set. Each row is then generated alone, seeded by
            `seed`, its id and its question, so that a resumed evaluation, or one with other
            batches, samples the same answers.
    """

    max_new_tokens: int = 32
    generation: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `generate`."""
        given = {name: value for name, value in self.generation.items() if value is not None}
        return {"max_new_tokens": self.max_new_tokens, **given}

    def answers(self, model: Any, samples: dict, method: str = "generate") -> list[str]:
        """One generated text per row of `samples`.

        Args:
            model: has `method`.
            samples: a batch.
            method: of the model: "generate" or "predict_answers".
        """
        ask = getattr(model, method)
        if not self.generation.get("do_sample"):
            return list(ask(samples, **self.arguments))
        import torch  # not above: `pal results` computes metrics without it

        names = samples.get("question_id", samples["text_input"])
        said = []
        with torch.random.fork_rng():
            for row, (name, text) in enumerate(zip(names, samples["text_input"], strict=True)):
                torch.manual_seed(zlib.crc32(f"{self.seed}|{name}|{text}".encode()))
                said += ask(take_rows(samples, [row]), **self.arguments)
        return said


@dataclass
class Scores:
    """Metrics over all rows of a task.

    Attributes:
        figures: metrics that are no ratio of sums over rows (BLEU).
        how: by metric, what computed it.
        missing: by metric that could not be computed, what to do to get it.
    """

    figures: dict[str, float | None] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Evaluator:
    """Evaluator of one task.

    Args:
        generation: how answers are generated.
    """

    #: Whether all rows of one `answer` call must share a closed set of answers.
    closed = False
    #: Metrics that the task may have; None where they are not known.
    names: tuple[str, ...] | None = None

    def __init__(self, generation: GenerationSettings) -> None:
        self.generation = generation

    def begin(self) -> None:
        """Called before each dataset."""

    def resume(self, rows: Rows) -> None:
        """Called with the dataset's rows that were answered before an interruption."""

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """Answer a batch.

        Returns:
            Columns with an entry per row; "prediction" is one of them.
        """
        raise NotImplementedError

    def score(self, rows: Rows, key: str) -> Scores:
        """Score all rows of a task; may add `figures{key}` to them.

        Args:
            rows: answered rows.
            key: suffix of the columns: "" or "_masked".
        """
        return Scores()

    def write(self, rows: Rows, key: str, folder: Path, stem: str) -> dict[str, str]:
        """Write additional files to `folder`; returns those that failed, with the reason."""
        return {}

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        """Metrics that are ratios of sums: those that every row has in `figures{key}`."""
        found: Columns = {}
        names = [set(row.get(f"figures{key}") or ()) for row in rows]
        for name in sorted(set.intersection(*names)) if names else ():
            pairs = [row[f"figures{key}"][name] for row in rows]
            pairs = [pair if isinstance(pair, list | tuple) else (pair, 1.0) for pair in pairs]
            found[name] = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
        return found

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """Metrics of a set of rows that are no ratio of sums, computed from the rows alone."""
        return {}

    @classmethod
    def resampled(cls, rows: Rows, key: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of `whole` in bootstrap samples, `[draws]` each; NaN where undefined.

        Args:
            rows: answered rows.
            key: suffix of the columns.
            weights: `[rows, draws]`, how often each row occurs in each sample.
        """
        return {}

    @classmethod
    def chance(cls, rows: Rows) -> float | None:
        """Accuracy or mAP that is reachable without listening; None where unknown."""
        return None

    @classmethod
    def summarise(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """All metrics of the rows; None where the denominator is 0."""
        ratios = {
            name: sum(tops) / sum(bottoms) if sum(bottoms) else None
            for name, (tops, bottoms) in cls.columns(rows, key).items()
        }
        return {**ratios, **cls.whole(rows, key)}


class Exact(Evaluator):
    """Accuracy by exact match with an accepted answer, after `answers.normalise`."""

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        """`accuracy`, and the metrics in `figures{key}`."""
        right = [float(is_correct(row[f"prediction{key}"], row["answers"])) for row in rows]
        return {"accuracy": (right, [1.0] * len(rows)), **super().columns(rows, key)}

    @classmethod
    def chance(cls, rows: Rows) -> float | None:
        """Share of the most frequent reference."""
        return largest_share([row["reference"] for row in rows])


def closed_set(samples: dict, task: str) -> list[str]:
    """The candidate labels that all rows share.

    Raises:
        ConfigError: the rows have no candidates; names the question.
    """
    candidates = (samples.get("candidates") or [None])[0]
    if not candidates:
        raise ConfigError(
            f"the {task} question {samples['question_id'][0]!r} has no candidates; expected the "
            "closed set of labels from its dataset"
        )
    return list(candidates)
