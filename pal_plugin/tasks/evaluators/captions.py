"""`caption`: the loss of the reference, and, on request, scores of every generated caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pal_plugin.metrics.captioning import caption_scores
from pal_plugin.tasks.evaluators.base import Asking, Columns, Evaluator, Finished, Rows
from pal_plugin.tasks.rows import row_count, take_rows

_SHOWN = 10


class Captions(Evaluator):
    """Loss and perplexity of the first reference; generated captions against all of them.

    Args:
        scores: generate and score every caption; otherwise only the loss, which is much faster.
        tokenizer: see `tokenizers.tokenize`.
        metrics: names in `captioning.SCORERS`, None for all.
        examples: captions generated per dataset for reading, where they are not scored.
    """

    def __init__(
        self,
        asking: Asking,
        scores: bool = False,
        tokenizer: str = "auto",
        metrics: Sequence[str] | None = None,
        examples: int = 4,
    ) -> None:
        super().__init__(asking)
        self.scores, self.tokenizer, self.metrics = scores, tokenizer, metrics
        self.examples = examples
        self._shown: set[str] = set()

    def begin(self) -> None:
        self._shown = set()

    def resume(self, rows: Rows) -> None:
        self._shown |= {row["id"] for row in rows if row["prediction"] is not None}

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        losses = model(samples)["per_row_loss"].float().tolist()
        # JSON has no NaN: a row that is read again must be the row that was kept.
        losses = [loss if math.isfinite(loss) else None for loss in losses]
        chosen = self._chosen(samples)
        said: list[str | None] = [None] * row_count(samples)
        if chosen:
            texts = self.asking(model, take_rows(samples, chosen))
            for row, text in zip(chosen, texts, strict=True):
                said[row] = text
        return {"loss": losses, "prediction": said}

    def finish(self, rows: Rows, key: str) -> Finished:
        missing = _without_loss(rows, key)
        if not self.scores:
            how = "set run.evaluation.caption.scores=true"
            return Finished(missing=missing | {"captioning scores": how})
        found = caption_scores(
            [row[f"prediction{key}"] for row in rows],
            [row["answers"] for row in rows],
            self.tokenizer,
            self.metrics,
        )
        done = Finished(missing=missing | found.missing)
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
        losses = [row[f"loss{key}"] for row in rows]
        known = [float(loss is not None) for loss in losses]
        return {"loss": ([loss or 0.0 for loss in losses], known), **super().columns(rows, key)}

    @classmethod
    def summarise(cls, rows: Rows, key: str) -> dict[str, float | None]:
        figures = super().summarise(rows, key)
        loss = figures.pop("loss")
        perplexity = None if loss is None else math.exp(min(loss, 700.0))
        return {"loss": loss, "perplexity": perplexity, **figures}

    def _chosen(self, samples: dict) -> list[int]:
        """Rows whose captions are generated; the same ones with the audio masked."""
        chosen = []
        for row, name in enumerate(samples["question_id"]):
            if not self.scores and name not in self._shown:
                if len(self._shown) >= self.examples:
                    continue
                self._shown.add(name)
            chosen.append(row)
        return chosen


def _without_loss(rows: Rows, key: str) -> dict[str, str]:
    """Captions whose loss is no number; they are left out of its mean."""
    names = [row["id"] for row in rows if row[f"loss{key}"] is None]
    if not names:
        return {}
    some = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    return {
        f"loss of {len(names)} captions": f"NaN or infinite ({some}), left out of the mean; try "
        "run.amp=none, and see whether a reference is empty"
    }
