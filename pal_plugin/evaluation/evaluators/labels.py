"""One label or several out of a closed set: by likelihood, or by generated text.

`likelihood` ranks all labels and is exact. `string` and `embedding` read a generated text as LTU
and GAMA do; results name which was used. Classification by likelihood has the generated answer
beside it (`said`), since a label may rank first and still not be what the model says.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from pal_plugin.evaluation.evaluators.base import (
    Asking,
    Evaluator,
    Exact,
    Finished,
    Rows,
    closed_set,
)
from pal_plugin.evaluation.metrics import resampled
from pal_plugin.evaluation.metrics.answers import is_correct, normalise
from pal_plugin.evaluation.metrics.classification import (
    f1_scores,
    mean_average_precision,
    multi_label_f1,
    plot_confusion,
)
from pal_plugin.evaluation.metrics.matching import TEMPLATE, cosines, embedder, string_match
from pal_plugin.evaluation.metrics.missing import MissingScoreError, version_of
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

_LIKELIHOOD = "likelihood of each label per token, with the end mark"
_NAMED = "the one label that the generated text names"
#: Digits of a score in the rows: AudioSet has 527 of them per clip.
_DIGITS = 5
#: A warning tells where this share of the clips has the right label first and not said.
_UNSAID = 0.2

logger = logging.getLogger(__name__)


class _Labels(Evaluator):
    """What the two tasks share.

    Args:
        by: a name in `ways`.
        embedder: of `embedding`: a folder or hub id, see `matching.SentenceEmbedder`.
        template: of `embedding`: what a label is compared as.

    Raises:
        ConfigError: an unknown way, or `embedding` without an embedder.
    """

    closed = True
    task = ""
    ways: tuple[str, ...] = ()

    def __init__(
        self,
        asking: Asking,
        by: str = "likelihood",
        embedder: str | None = None,
        template: str = TEMPLATE,
    ) -> None:
        super().__init__(asking)
        path = f"run.evaluation.{self.task}"
        if by not in self.ways:
            raise ConfigError(f"{path}.by is {by!r}. {did_you_mean(by, self.ways)}")
        if by == "embedding" and not embedder:
            raise ConfigError(
                f"{path}.by=embedding needs {path}.embedder, a folder or hub id of a sentence model"
            )
        self.by, self.embedder, self.template = by, embedder, template

    def _cosines(self, texts: list[str], labels: list[str]) -> np.ndarray:
        return cosines(texts, labels, embedder(self.embedder), self.template)

    def _way(self) -> str:
        if self.by == "embedding":
            return (
                f"cosine of the generated text with {self.template!r}, mean-pooled {self.embedder}"
            )
        if self.by == "string":
            return _NAMED
        return _LIKELIHOOD


class Classification(_Labels, Exact):
    """One label: accuracy, and F1 where scikit-learn is.

    Args:
        said: with `likelihood`, generate an answer too and count it as `string` does, under
            `accuracy_said`. The other ways read a generated answer anyway.
    """

    task = "classification"
    ways = ("likelihood", "string", "embedding")

    def __init__(self, asking: Asking, said: bool = True, **ways: Any) -> None:
        super().__init__(asking, **ways)
        self.said = said and self.by == "likelihood"

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        labels = closed_set(samples, self.task)
        if self.by == "likelihood":
            ranked = list(model.predict_class(samples, candidates=labels)["predictions"])
            if not self.said:
                return {"prediction": ranked}
            said = self.asking(model, samples)
            return {"prediction": ranked, "said": said, "named": _named(said, labels)}
        said = self.asking(model, samples)
        if self.by == "string":
            found = _named(said, labels)
        else:
            found = [labels[i] for i in self._cosines(said, labels).argmax(axis=1)]
        return {"prediction": found, "said": said}

    def finish(self, rows: Rows, key: str) -> Finished:
        done = Finished(how={"accuracy": self._way()})
        try:
            done.how["macro_f1"] = done.how["micro_f1"] = version_of("scikit-learn")
        except MissingScoreError as error:
            done.missing = dict.fromkeys(("macro_f1", "micro_f1"), str(error))
        if self.by == "string" or self.said:
            column = f"named{key}" if self.said else f"prediction{key}"
            for row in rows:
                figures = {"unmatched": float(not row[column])}
                if self.said:
                    figures["accuracy_said"] = float(is_correct(row[column], row["answers"]))
                row[f"figures{key}"] = figures
            done.how["unmatched"] = "share of texts that name no label or several; they are wrong"
        if self.said:
            done.how["accuracy_said"] = _NAMED
            if not key:
                _warn_where_unsaid(rows)
        return done

    def write(self, rows: Rows, key: str, folder: Path, stem: str) -> dict[str, str]:
        name = f"{stem}.confusion{key}.png"
        right, given, labels = _single(rows, key)
        try:
            plot_confusion(folder / name, right, given, labels, f"{stem}{key.replace('_', ' ')}")
        except MissingScoreError as error:
            return {name: str(error)}
        return {}

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        try:
            return dict(f1_scores(*_single(rows, key)))
        except MissingScoreError:
            return {}  # `finish` names it

    @classmethod
    def resampled(cls, rows: Rows, key: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        right, given, labels = _single(rows, key)
        number = {label: i for i, label in enumerate(labels)} | {"": -1}
        return resampled.label_f1(
            np.array([number[label] for label in right]),
            np.array([number.get(label, len(labels)) for label in given]),
            len(labels),
            weights,
        )


class Tagging(_Labels):
    """Several labels: macro mAP of the labels' scores, F1 of the label that scores highest."""

    task = "tagging"
    ways = ("likelihood", "embedding")

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        labels = closed_set(samples, self.task)
        number = {label: i for i, label in enumerate(labels)}
        for row, right in enumerate(samples["answers"]):
            stray = [label for label in right if label not in number]
            if stray:
                raise ConfigError(
                    f"the question {samples['question_id'][row]!r} has the labels {stray}, which "
                    "are not among its candidates"
                )
        if self.by == "likelihood":
            scores = model.predict_class(samples, candidates=labels)["scores"]
            scores = scores.detach().float().cpu().numpy()
            said = {}
        else:
            texts = self.asking(model, samples)
            scores, said = self._cosines(texts, labels), {"said": texts}
        return {
            "prediction": [labels[i] for i in scores.argmax(axis=1)],
            "scores": [[float(f"{s:.{_DIGITS}g}") for s in row] for row in scores],
            "right": [[number[label] for label in right] for right in samples["answers"]],
            **said,
        }

    def finish(self, rows: Rows, key: str) -> Finished:
        try:
            package = version_of("scikit-learn")
        except MissingScoreError as error:
            return Finished(missing=dict.fromkeys(("map", "macro_f1", "micro_f1"), str(error)))
        targets = _targets(rows, key)
        note = f"{package}, {self._way()}"
        if targets is None:
            return Finished(missing={"map": "the rows have different sets of labels"})
        unused = int((~targets.any(axis=0)).sum())
        return Finished(
            how={
                "map": f"{note}; mean over the labels, without {unused} that no clip has",
                "macro_f1": f"{note}; the label that scores highest against all labels of the clip",
            }
        )

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        targets = _targets(rows, key)
        if targets is None:
            return {}
        scores = np.array([row[f"scores{key}"] for row in rows], dtype=np.float64)
        given = np.zeros_like(targets)
        given[np.arange(len(rows)), scores.argmax(axis=1)] = 1
        try:
            precision = mean_average_precision(targets, scores)
            return {"map": precision, **multi_label_f1(targets, given)}
        except MissingScoreError:
            return {}

    @classmethod
    def resampled(cls, rows: Rows, key: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        targets = _targets(rows, key)
        if targets is None:
            return {}
        scores = np.array([row[f"scores{key}"] for row in rows], dtype=np.float64)
        return {
            "map": resampled.mean_average_precisions(targets, scores, weights),
            **resampled.multi_label_f1(targets, scores.argmax(axis=1), weights),
        }

    @classmethod
    def chance(cls, rows: Rows) -> float | None:
        """The mAP of equal scores: the mean share of clips that have a label."""
        targets = _targets(rows, "")
        if targets is None or not targets.any():
            return None
        return float(targets[:, targets.any(axis=0)].mean())


def _warn_where_unsaid(rows: Rows) -> None:
    ranked = np.array([is_correct(row["prediction"], row["answers"]) for row in rows])
    said = np.array([is_correct(row["named"], row["answers"]) for row in rows])
    if np.mean(ranked & ~said) < _UNSAID:
        return
    example = next(r for r, first, told in zip(rows, ranked, said, strict=True) if first > told)
    logger.warning(
        "classification: of %d clips the right label ranks first for %.0f %%, but is said for "
        "%.0f %% (%r instead of %r): asked freely, the model does not name what it ranks. Train "
        "longer, or more of the LLM (model.stage.llm)",
        len(rows),
        100 * ranked.mean(),
        100 * said.mean(),
        example["said"],
        example["reference"],
    )


def _named(said: list[str], labels: list[str]) -> list[str]:
    """The label that each text names, "" where it names none or several."""
    return [string_match(text, labels) or "" for text in said]


def _single(rows: Rows, key: str) -> tuple[list[str], list[str], list[str]]:
    """Right and given labels after `normalise` (an accepted answer is the right one), and all."""
    right = [normalise(row["reference"]) for row in rows]
    given = [
        reference if is_correct(row[f"prediction{key}"], row["answers"])
        else normalise(row[f"prediction{key}"])
        for row, reference in zip(rows, right, strict=True)
    ]  # fmt: skip
    return right, given, sorted(set(right))


def _targets(rows: Rows, key: str) -> np.ndarray | None:
    """0 or 1, `[rows, labels]`; None where rows have different numbers of labels."""
    widths = {len(row[f"scores{key}"]) for row in rows}
    if len(widths) != 1:
        return None
    targets = np.zeros((len(rows), widths.pop()), dtype=np.int64)
    for number, row in enumerate(rows):
        targets[number, row[f"right{key}"]] = 1
    return targets
