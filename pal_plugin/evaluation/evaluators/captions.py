"""`caption`: the loss of the reference, and optionally scores of every generated caption.

Where captions are not scored, a few examples are generated: those whose ids have the smallest
digests, so that the choice does not depend on processes and batches. Each process generates a
caption if its id is among the smallest so far; those that were superseded are dropped at the end.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Sequence
from typing import Any

from pal_plugin.batch import rows_in, take_rows
from pal_plugin.evaluation.evaluators.base import (
    Columns,
    Evaluator,
    GenerationSettings,
    Rows,
    Scores,
)
from pal_plugin.evaluation.metrics.captioning import caption_scores, scorer_names
from pal_plugin.utils.spelling import first_of

_Rank = tuple[bytes, str, str]


class Captions(Evaluator):
    """Loss and perplexity of the first reference; scores of generated captions against all of them.

    Args:
        generation: how captions are generated.
        scores: generate and score every caption; otherwise only the loss, which is much faster.
        tokenizer: see `tokenizers.tokenize`.
        metrics: names in `captioning.SCORERS`, None for all.
        examples: captions per dataset to generate as examples, where they are not scored. Each
            process generates about `examples * (1 + ln(batches))` to find them.

    Raises:
        ConfigError: an unknown name in `metrics`.
    """

    names = (
        *("loss", "perplexity", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"),
        *("cider", "cider_d", "meteor", "spice", "spider", "fense"),
    )

    def __init__(
        self,
        generation: GenerationSettings,
        scores: bool = False,
        tokenizer: str = "auto",
        metrics: Sequence[str] | None = None,
        examples: int = 4,
    ) -> None:
        super().__init__(generation)
        scorer_names(metrics)  # an unknown name fails before the first batch
        self.scores, self.tokenizer, self.metrics = scores, tokenizer, metrics
        self.examples = examples
        self._smallest: set[_Rank] = set()

    def begin(self) -> None:
        """Forget the examples of the previous dataset."""
        self._smallest = set()

    def resume(self, rows: Rows) -> None:
        """Count these rows when examples are chosen."""
        self._meet(_rank(row["question_type"], row["id"]) for row in rows)

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`loss` of each reference (None if not finite), and `prediction` or None."""
        losses = model(samples)["per_row_loss"].float().tolist()
        # JSON has no NaN: a row read from the cache must equal the row that was written.
        losses = [loss if math.isfinite(loss) else None for loss in losses]
        chosen = self._chosen(samples)
        said: list[str | None] = [None] * rows_in(samples)
        if chosen:
            texts = self.generation.answers(model, take_rows(samples, chosen))
            for row, text in zip(chosen, texts, strict=True):
                said[row] = text
        return {"loss": losses, "prediction": said}

    def score(self, rows: Rows, key: str) -> Scores:
        """Caption metrics if `scores` is set; otherwise drops all captions but the examples."""
        missing = _without_loss(rows, key)
        if not self.scores:
            self._drop(rows, key)
            how = "set run.evaluation.caption.scores=true"
            return Scores(missing=missing | {"captioning scores": how})
        found = caption_scores(
            [row[f"prediction{key}"] for row in rows],
            [row["answers"] for row in rows],
            self.tokenizer,
            self.metrics,
        )
        done = Scores(missing=missing | found.missing)
        for row in rows:
            row[f"figures{key}"] = {}
        for name, score in found.scores.items():
            done.how[name] = f"{score.package}; tokenizer: {score.tokenizer}"
            if score.rows is None:
                done.figures[name] = score.value
            else:
                for row, value in zip(rows, score.rows, strict=True):
                    row[f"figures{key}"][name] = value
        return done

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        """`loss`, mean over the rows where it is finite, and the metrics in `figures{key}`."""
        losses = [row[f"loss{key}"] for row in rows]
        known = [float(loss is not None) for loss in losses]
        return {"loss": ([loss or 0.0 for loss in losses], known), **super().columns(rows, key)}

    @classmethod
    def summarise(cls, rows: Rows, key: str) -> dict[str, float | None]:
        """All metrics, with `perplexity`, exp(loss)."""
        figures = super().summarise(rows, key)
        loss = figures.pop("loss")
        perplexity = None if loss is None else math.exp(min(loss, 700.0))
        return {"loss": loss, "perplexity": perplexity, **figures}

    def _chosen(self, samples: dict) -> list[int]:
        """Rows to generate captions for; the same ones with the audio masked."""
        if self.scores:
            return list(range(rows_in(samples)))
        ranks = list(map(_rank, samples["question_type"], samples["question_id"]))
        self._meet(ranks)
        return [row for row, rank in enumerate(ranks) if rank in self._smallest]

    def _meet(self, ranks: Iterable[_Rank]) -> None:
        self._smallest = set(heapq.nsmallest(self.examples, {*self._smallest, *ranks}))

    def _drop(self, rows: Rows, key: str) -> None:
        """Keep only the captions of the rows with the smallest digests."""
        ranks = [_rank(row["question_type"], row["id"]) for row in rows]
        kept = set(heapq.nsmallest(self.examples, ranks))
        for row, rank in zip(rows, ranks, strict=True):
            if rank not in kept:
                row[f"prediction{key}"] = None


def _rank(question_type: str, name: str) -> _Rank:
    digest = hashlib.blake2b(f"{question_type}|{name}".encode(), digest_size=8).digest()
    return digest, question_type, name


def _without_loss(rows: Rows, key: str) -> dict[str, str]:
    """Captions whose loss is not finite; they are excluded from the mean."""
    names = [row["id"] for row in rows if row[f"loss{key}"] is None]
    if not names:
        return {}
    return {
        f"loss of {len(names)} captions": f"NaN or infinite ({first_of(names)}), excluded from "
        "the mean; try run.amp=none, and check for empty references"
    }
