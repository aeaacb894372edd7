"""What every evaluator is: it answers rows of one task, and turns answered rows into figures.

Figures are ratios of sums over rows wherever they can be: a row keeps its own numerator and
denominator, so that any set of rows (a question type, a bootstrap draw, the parts of several
processes) has its figure without asking the model again.
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
#: Numerators and denominators of a figure, one per row.
Columns = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Asking:
    """How answers are generated.

    Args:
        max_new_tokens: length limit of an answer.
        generation: other arguments of the model's `generate`; None stands for its own default.
        seed: of sampling, where `do_sample` is set. A row's draws follow from the seed, its id and
            its question alone, so rows are then generated one by one: an evaluation that goes on
            after an interruption, or has other batches, samples the same.
    """

    max_new_tokens: int = 32
    generation: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """What is handed to `generate`."""
        given = {name: value for name, value in self.generation.items() if value is not None}
        return {"max_new_tokens": self.max_new_tokens, **given}

    def __call__(self, model: Any, samples: dict, method: str = "generate") -> list[str]:
        """One text per row of `samples`."""
        ask = getattr(model, method)
        if not self.generation.get("do_sample"):
            return list(ask(samples, **self.arguments))
        import torch  # not above: figures are counted without it (`pal results`)

        names = samples.get("question_id", samples["text_input"])
        said = []
        with torch.random.fork_rng():
            for row, (name, text) in enumerate(zip(names, samples["text_input"], strict=True)):
                torch.manual_seed(zlib.crc32(f"{self.seed}|{name}|{text}".encode()))
                said += ask(take_rows(samples, [row]), **self.arguments)
        return said


@dataclass
class Finished:
    """What is known of a task's rows as a whole.

    Attributes:
        figures: that are no ratio of sums over rows (BLEU).
        how: of each figure, what computed it.
        missing: of each figure that could not be computed, the way to get it.
    """

    figures: dict[str, float | None] = field(default_factory=dict)
    how: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


class Evaluator:
    """One task.

    Args:
        asking: how answers are generated.
    """

    #: Rows of one call have the same closed set of answers.
    closed = False

    def __init__(self, asking: Asking) -> None:
        self.asking = asking

    def begin(self) -> None:
        """A dataset begins."""

    def resume(self, rows: Rows) -> None:
        """These rows of the dataset were answered before an interruption."""

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """Columns of answers, an entry per row; "prediction" is one of them."""
        raise NotImplementedError

    def finish(self, rows: Rows, key: str) -> Finished:
        """Score all rows of a task; may add `figures{key}` to them.

        Args:
            rows: answered rows.
            key: "" or "_masked", the suffix of the columns.
        """
        return Finished()

    def write(self, rows: Rows, key: str, folder: Path, stem: str) -> dict[str, str]:
        """Write files beside the rows; returns what could not be written, with the reason."""
        return {}

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        """Figures that are ratios of sums: those which every row has in `figures{key}`."""
        found: Columns = {}
        names = [set(row.get(f"figures{key}") or ()) for row in rows]
        for name in sorted(set.intersection(*names)) if names else ():
            pairs = [row[f"figures{key}"][name] for row in rows]
            pairs = [pair if isinstance(pair, list | tuple) else (pair, 1.0) for pair in pairs]
            found[name] = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
        return found

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """Figures of a set of rows that are no ratio of sums, computed from the rows alone."""
        return {}

    @classmethod
    def resampled(cls, rows: Rows, key: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Figures of `whole` in bootstrap samples, `[draws]` each; NaN where one has none.

        Args:
            weights: how often each row occurs in each sample, `[rows, draws]`.
        """
        return {}

    @classmethod
    def chance(cls, rows: Rows) -> float | None:
        """What a model that never listens can reach, None where that is not known."""
        return None

    @classmethod
    def summarise(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """All figures that the rows give."""
        ratios = {
            name: sum(tops) / sum(bottoms) if sum(bottoms) else None
            for name, (tops, bottoms) in cls.columns(rows, key).items()
        }
        return {**ratios, **cls.whole(rows, key)}


class Exact(Evaluator):
    """An answer is right if it equals an accepted one after `answers.normalise`."""

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        right = [float(is_correct(row[f"prediction{key}"], row["answers"])) for row in rows]
        return {"accuracy": (right, [1.0] * len(rows)), **super().columns(rows, key)}

    @classmethod
    def chance(cls, rows: Rows) -> float | None:
        return largest_share([row["reference"] for row in rows])


def closed_set(samples: dict, task: str) -> list[str]:
    """The candidates that all rows share.

    Raises:
        ConfigError: there are none; names the question.
    """
    candidates = (samples.get("candidates") or [None])[0]
    if not candidates:
        raise ConfigError(
            f"the {task} question {samples['question_id'][0]!r} has no candidates; its dataset "
            "must give the closed set of answers"
        )
    return list(candidates)
