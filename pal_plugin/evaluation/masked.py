"""The masked control: what a model answers where it hears nothing, each distinct question once.

Audio that is masked out reaches nothing: PLITS does not prepend it, LAL and Flamingo give it no
weight (`tests/evaluation/test_masked.py` shows it of each). So the answer follows from the text
alone, and where a thousand clips are asked one question there is one masked answer, not a thousand.

A row keeps the answer of the batch in which its question came first. Other batches would give the
same to rounding, as of any batch: it decides nothing but ties.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from pal_plugin.batch import take_rows

#: Answers by what was asked: method, settings, and the texts of a row.
Known = dict[tuple[Hashable, ...], Any]


class Unheard:
    """A model as evaluators ask it, of which only questions that are new reach the model.

    Args:
        model: has those of `generate`, `predict_answers`, `predict_class` and the loss by row
            (`model(samples)["per_row_loss"]`) that the evaluators call.
        known: answers so far, of these weights; it grows.

    Every batch must be masked (`batch.masked`). Sampled answers differ from row to row, so all of
    them are asked.
    """

    def __init__(self, model: Any, known: Known) -> None:
        self._model, self._known = model, known

    def __call__(self, samples: dict) -> dict[str, Any]:
        """`per_row_loss` of the batch's answers, `[R]`."""
        import torch

        def losses(part: dict) -> Sequence[Any]:
            return list(self._model(part)["per_row_loss"])

        texts = (samples["text_input"], samples["text_output"])
        return {"per_row_loss": torch.stack(self._each(samples, ("loss",), texts, losses))}

    def generate(self, samples: dict, **generation: Any) -> list[str]:
        """One text per row."""
        return self._texts("generate", samples, generation)

    def predict_answers(self, samples: dict, **generation: Any) -> list[str]:
        """One text per row."""
        return self._texts("predict_answers", samples, generation)

    def predict_class(self, samples: dict, candidates: Sequence[str]) -> dict[str, Any]:
        """`predictions`, and `scores` `[R, len(candidates)]`."""
        import torch

        def ranked(part: dict) -> list[tuple[str, Any]]:
            found = self._model.predict_class(part, candidates=list(candidates))
            return list(zip(found["predictions"], found["scores"], strict=True))

        what = ("class", tuple(candidates))
        rows = self._each(samples, what, (samples["text_input"],), ranked)
        return {
            "predictions": [label for label, _ in rows],
            "scores": torch.stack([scores for _, scores in rows]),
        }

    def _texts(self, method: str, samples: dict, generation: dict[str, Any]) -> list[str]:
        def said(part: dict) -> list[str]:
            return list(getattr(self._model, method)(part, **generation))

        if generation.get("do_sample"):
            return said(samples)
        what = (method, repr(sorted(generation.items())))
        return self._each(samples, what, (samples["text_input"],), said)

    def _each(
        self,
        samples: dict,
        what: tuple[Hashable, ...],
        texts: Sequence[Sequence[str]],
        ask: Callable[[dict], Sequence[Any]],
    ) -> list[Any]:
        """An answer per row; `ask` gets the first row of each question that is new."""
        keys = [(*what, *row) for row in zip(*texts, strict=True)]
        first: dict[tuple, int] = {}
        for row, key in enumerate(keys):
            if key not in self._known:
                first.setdefault(key, row)
        if first:
            part = samples
            if len(first) < len(keys):
                part = take_rows(samples, list(first.values()))
            self._known.update(zip(first, ask(part), strict=True))
        return [self._known[key] for key in keys]
