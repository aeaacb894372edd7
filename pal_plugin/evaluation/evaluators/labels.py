"""Classification and tagging: labels of a closed set, by likelihood or from generated text.

`likelihood` ranks all labels and is exact. `string` and `embedding` match a generated text as LTU
and GAMA do; results name which was used. Classification by likelihood generates an answer too
(`said`), since a model may rank a label first and still not generate it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pal_plugin.evaluation.evaluators.base import (
    Evaluator,
    Exact,
    GenerationSettings,
    Rows,
    Scores,
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
from pal_plugin.evaluation.metrics.matching import (
    TEMPLATE,
    cosines,
    embedder,
    labels_in,
    string_match,
)
from pal_plugin.evaluation.metrics.missing import MissingScoreError, version_of
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

_LIKELIHOOD = "likelihood of each label per token, with the end-of-text token"
_NAMED = "the one label that the generated text contains"
#: Significant digits of a score in the rows: AudioSet has 527 of them per clip.
_DIGITS = 5
#: Labels that a row keeps with their probabilities.
_SHOWN = 5
#: Warn if this share of the clips has the right label ranked first but not generated.
_UNSAID = 0.2

logger = logging.getLogger(__name__)


class _Labels(Evaluator):
    """Base of classification and tagging.

    Args:
        generation: how answers are generated.
        by: a name in `ways`.
        embedder: for `embedding`: a folder or hub id, see `matching.SentenceEmbedder`.
        template: for `embedding`: the text that stands for a label.

    Raises:
        ConfigError: an unknown `by`, or `embedding` without an embedder.
    """

    closed = True
    task = ""
    ways: tuple[str, ...] = ()

    def __init__(
        self,
        generation: GenerationSettings,
        by: str = "likelihood",
        embedder: str | None = None,
        template: str = TEMPLATE,
    ) -> None:
        super().__init__(generation)
        path = f"run.evaluation.{self.task}"
        if by not in self.ways:
            raise ConfigError(f"{path}.by is {by!r}. {did_you_mean(by, self.ways)}")
        if by == "embedding" and not embedder:
            raise ConfigError(
                f"{path}.by=embedding needs {path}.embedder: a folder or hub id of a sentence model"
            )
        if by == "embedding" and "{label}" not in template:
            raise ConfigError(f"{path}.template is {template!r}; expected a text with {{label}}")
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
    """One label per clip: accuracy, and F1 if scikit-learn is installed.

    Args:
        generation: how answers are generated.
        said: with `likelihood`, generate an answer too and score it as `string` does, as
            `accuracy_said`. The other ways use a generated answer anyway.
        ways: `by`, `embedder` and `template`.
    """

    task = "classification"
    ways = ("likelihood", "string", "embedding")
    names = ("accuracy", "macro_f1", "micro_f1", "accuracy_said", "unmatched")

    def __init__(self, generation: GenerationSettings, said: bool = True, **ways: Any) -> None:
        super().__init__(generation, **ways)
        self.said = said and self.by == "likelihood"

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`prediction`, the label; `said`, the generated text; `named`, the label in it.

        `ranked`: the first labels with their probabilities, where the model gives them.
        """
        labels = closed_set(samples, self.task)
        if self.by == "likelihood":
            found = model.predict_class(samples, candidates=labels)
            columns = {"prediction": list(found["predictions"]), **_first(found, labels)}
            if not self.said:
                return columns
            said = self.generation.answers(model, samples)
            return {**columns, "said": said, "named": _named(said, labels)}
        said = self.generation.answers(model, samples)
        if self.by == "string":
            found = _named(said, labels)
        else:
            found = [labels[i] for i in self._cosines(said, labels).argmax(axis=1)]
        return {"prediction": found, "said": said}

    def score(self, rows: Rows, key: str) -> Scores:
        """Adds `unmatched` and `accuracy_said` to the rows where texts were generated."""
        done = Scores(how={"accuracy": self._way()})
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
            done.how["unmatched"] = "share of texts with no label or several; they count as wrong"
        if self.said:
            done.how["accuracy_said"] = _NAMED
            if not key:
                _warn_where_unsaid(rows)
        return done

    def write(self, rows: Rows, key: str, folder: Path, stem: str) -> dict[str, str]:
        """Draw the confusion matrix."""
        name = f"{stem}.confusion{key}.png"
        right, given, labels = _single(rows, key)
        try:
            plot_confusion(folder / name, right, given, labels, f"{stem}{key.replace('_', ' ')}")
        except MissingScoreError as error:
            return {name: str(error)}
        return {}

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """`macro_f1` and `micro_f1`."""
        try:
            return dict(f1_scores(*_single(rows, key)))
        except MissingScoreError:
            return {}  # `score` reports it

    @classmethod
    def resampled(cls, rows: Rows, key: str, weights: np.ndarray) -> dict[str, np.ndarray]:
        """F1 in bootstrap samples, `[draws]` each."""
        right, given, labels = _single(rows, key)
        number = {label: i for i, label in enumerate(labels)} | {"": -1}
        return resampled.label_f1(
            np.array([number[label] for label in right]),
            np.array([number.get(label, len(labels)) for label in given]),
            len(labels),
            weights,
        )


class Tagging(_Labels):
    """Several labels per clip: macro mAP of the labels' scores, F1 of the top-scoring label.

    Args:
        generation: how answers are generated.
        said: with `likelihood`, generate an answer too and score the labels in it, as
            `micro_f1_said`. `embedding` uses a generated answer anyway.
        ways: `by`, `embedder` and `template`.
    """

    task = "tagging"
    ways = ("likelihood", "embedding")
    names = ("map", "macro_f1", "micro_f1", "micro_f1_said", "unmatched")

    def __init__(self, generation: GenerationSettings, said: bool = True, **ways: Any) -> None:
        super().__init__(generation, **ways)
        self.said = said and self.by == "likelihood"

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`prediction`, the top label; `scores` of all labels; `right`, indices of the true ones.

        Raises:
            ConfigError: a true label is not among the candidates.
        """
        labels = closed_set(samples, self.task)
        number = {label: i for i, label in enumerate(labels)}
        for row, right in enumerate(samples["answers"]):
            stray = [label for label in right if label not in number]
            if stray:
                raise ConfigError(
                    f"the question {samples['question_id'][row]!r} has the labels {stray}, which "
                    "are not among its candidates; add them to the closed set"
                )
        if self.by == "likelihood":
            scores = model.predict_class(samples, candidates=labels)["scores"]
            scores = scores.detach().float().cpu().numpy()
            said = {}
            if self.said:
                texts = self.generation.answers(model, samples)
                named = [[number[label] for label in labels_in(text, labels)] for text in texts]
                said = {"said": texts, "named": named}
        else:
            texts = self.generation.answers(model, samples)
            scores, said = self._cosines(texts, labels), {"said": texts}
        return {
            "prediction": [labels[i] for i in scores.argmax(axis=1)],
            "scores": [[float(f"{s:.{_DIGITS}g}") for s in row] for row in scores],
            "right": [[number[label] for label in right] for right in samples["answers"]],
            **said,
        }

    def score(self, rows: Rows, key: str) -> Scores:
        """`micro_f1_said` and `unmatched` per row; how all was computed, or why not."""
        how = self._score_said(rows, key) if self.said else {}
        try:
            package = version_of("scikit-learn")
        except MissingScoreError as error:
            missing = dict.fromkeys(("map", "macro_f1", "micro_f1"), str(error))
            return Scores(how=how, missing=missing)
        targets = _targets(rows, key)
        note = f"{package}, {self._way()}"
        if targets is None:
            return Scores(how=how, missing={"map": "the rows have different sets of labels"})
        unused = int((~targets.any(axis=0)).sum())
        return Scores(
            how={
                "map": f"{note}; mean over the labels, excluding {unused} without any clip",
                "macro_f1": f"{note}; the top-scoring label against all labels of the clip",
                **how,
            }
        )

    def _score_said(self, rows: Rows, key: str) -> dict[str, str]:
        """Metrics of the generated answers, with how they were computed."""
        for row in rows:
            named, right = row[f"named{key}"], row[f"right{key}"]
            # Micro F1 is a ratio of sums over clips: 2 TP / (named + right).
            counted = [2 * len({*named} & {*right}), len({*named}) + len({*right})]
            row[f"figures{key}"] = {"micro_f1_said": counted, "unmatched": float(not named)}
        return {
            "micro_f1_said": "F1 of the labels in the generated text, over all clips and labels",
            "unmatched": "share of texts that contain no label",
        }

    @classmethod
    def whole(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """`map`, `macro_f1` and `micro_f1`."""
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
        """mAP and F1 in bootstrap samples, `[draws]` each."""
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
        """mAP of constant scores: the mean prevalence of the labels."""
        targets = _targets(rows, "")
        if targets is None or not targets.any():
            return None
        return float(targets[:, targets.any(axis=0)].mean())


def _first(found: Mapping[str, Any], labels: Sequence[str]) -> dict[str, list]:
    """The first labels of each row by score, as `[label, probability]`, in the column `ranked`."""
    if "probabilities" not in found:
        return {}
    places = found["scores"].topk(min(_SHOWN, len(labels)), dim=1).indices
    shares = found["probabilities"].float().gather(1, places)
    return {
        "ranked": [
            [[labels[i], round(share, 4)] for i, share in zip(*row, strict=True)]
            for row in zip(places.tolist(), shares.tolist(), strict=True)
        ]
    }


def _warn_where_unsaid(rows: Rows) -> None:
    ranked = np.array([is_correct(row["prediction"], row["answers"]) for row in rows])
    said = np.array([is_correct(row["named"], row["answers"]) for row in rows])
    if np.mean(ranked & ~said) < _UNSAID:
        return
    example = next(r for r, first, named in zip(rows, ranked, said, strict=True) if first > named)
    logger.warning(
        "classification of %d clips: the right label ranks first for %.0f %%, but is generated for "
        "only %.0f %% (e.g. %r instead of %r). Train longer, or train more of the LLM "
        "(model.stage.llm)",
        len(rows),
        100 * ranked.mean(),
        100 * said.mean(),
        example["said"],
        example["reference"],
    )


def _named(said: list[str], labels: list[str]) -> list[str]:
    """The label that each text contains; "" for none or several."""
    return [string_match(text, labels) or "" for text in said]


def _single(rows: Rows, key: str) -> tuple[list[str], list[str], list[str]]:
    """True and predicted labels after `normalise` (accepted answers count as true), and all."""
    right = [normalise(row["reference"]) for row in rows]
    given = [
        reference if is_correct(row[f"prediction{key}"], row["answers"])
        else normalise(row[f"prediction{key}"])
        for row, reference in zip(rows, right, strict=True)
    ]  # fmt: skip
    return right, given, sorted(set(right))


def _targets(rows: Rows, key: str) -> np.ndarray | None:
    """`[rows, labels]` of 0 and 1; None where rows have different numbers of labels."""
    widths = {len(row[f"scores{key}"]) for row in rows}
    if len(widths) != 1:
        return None
    targets = np.zeros((len(rows), widths.pop()), dtype=np.int64)
    for number, row in enumerate(rows):
        targets[number, row[f"right{key}"]] = 1
    return targets
