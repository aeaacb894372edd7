"""The masked-audio control: a model's answers without audio, computed once per distinct question.

Masked audio has no influence: PLITS does not prepend it, LAL and Flamingo give it no weight
(`tests/evaluation/test_masked.py` shows it of each). The answer then depends on the text alone, so
a question that is asked about a thousand clips has one masked answer, not a thousand.

All rows of a question get the answer of the batch in which it came first. Other batches would give
the same up to rounding, which can only change ties.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from itertools import repeat
from typing import Any

from pal_plugin.batch import take_rows
from pal_plugin.utils.messages import CLIP, with_clips

#: Answers by model call: method, settings, and the texts of a row.
Known = dict[tuple[Hashable, ...], Any]


class Unheard:
    """Wraps a model for evaluators; only new questions reach the model.

    Args:
        model: has those of `generate`, `predict_answers`, `predict_class` and the loss by row
            (`model(samples)["per_row_loss"]`) that the evaluators call.
        known: answers of these weights so far; it is updated.

    Every batch must be masked (`batch.masked`). With sampling every row is generated, since sampled
    answers differ between rows.
    """

    def __init__(self, model: Any, known: Known) -> None:
        self._model, self._known = model, known

    def __call__(self, samples: dict) -> dict[str, Any]:
        """`per_row_loss` `[R]` of the batch's R answers."""
        import torch

        def losses(part: dict) -> Sequence[Any]:
            return list(self._model(part)["per_row_loss"])

        texts = (_asked(samples), samples["text_output"])
        return {"per_row_loss": torch.stack(self._each(samples, ("loss",), texts, losses))}

    def generate(self, samples: dict, **generation: Any) -> list[str]:
        """One text per row."""
        return self._texts("generate", samples, generation)

    def predict_answers(self, samples: dict, **generation: Any) -> list[str]:
        """One text per row."""
        return self._texts("predict_answers", samples, generation)

    def predict_class(self, samples: dict, candidates: Sequence[str]) -> dict[str, Any]:
        """`predictions`, and `scores` `[R, C]` of R rows and C candidates."""
        import torch

        def ranked(part: dict) -> list[tuple[str, Any]]:
            found = self._model.predict_class(part, candidates=list(candidates))
            return list(zip(found["predictions"], found["scores"], strict=True))

        what = ("class", tuple(candidates))
        rows = self._each(samples, what, (_asked(samples),), ranked)
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
        return self._each(samples, what, (_asked(samples),), said)

    def _each(
        self,
        samples: dict,
        what: tuple[Hashable, ...],
        texts: Sequence[Sequence[str]],
        ask: Callable[[dict], Sequence[Any]],
    ) -> list[Any]:
        """An answer per row; `ask` is called with the first row of each new question."""
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


def _asked(samples: dict) -> Sequence[str]:
    """The text of each row: its question, or its whole conversation, whatever its clips."""
    if "messages" not in samples:
        return samples["text_input"]
    return [json.dumps(with_clips(each, repeat(CLIP))) for each in samples["messages"]]
