"""Short answers scored by exact match, and transcripts scored by word error rate."""

from __future__ import annotations

from typing import Any

from pal_plugin.evaluation.evaluators.base import (
    Columns,
    Evaluator,
    Exact,
    GenerationSettings,
    Rows,
    Scores,
)
from pal_plugin.evaluation.metrics.answers import spoken_words
from pal_plugin.evaluation.metrics.missing import version_of
from pal_plugin.evaluation.metrics.speech import whisper_normaliser, word_errors


class Questions(Exact):
    """`qa`: exact match of a generated answer after `normalise`."""

    names = ("accuracy",)

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`prediction`: the generated answer."""
        return {"prediction": self.generation.answers(model, samples, "predict_answers")}

    def score(self, rows: Rows, key: str) -> Scores:
        """How the accuracy was computed."""
        return Scores(how={"accuracy": "equal to an accepted answer without case and articles"})


class Transcripts(Evaluator):
    """`transcript`: `wer` of `spoken_words`, `wer_whisper` by Whisper's normalizer, `wer_raw`.

    Args:
        generation: how transcripts are generated.
        spelling: see `speech.whisper_normaliser`.
    """

    names = ("wer", "wer_raw", "wer_whisper")

    def __init__(self, generation: GenerationSettings, spelling: str | None = None) -> None:
        super().__init__(generation)
        self.spelling = spelling

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        """`prediction`: the generated transcript."""
        return {"prediction": self.generation.answers(model, samples)}

    def score(self, rows: Rows, key: str) -> Scores:
        """Adds `wer_raw` and `wer_whisper` to the rows."""
        whisper, name = whisper_normaliser(self.spelling)
        for row in rows:
            said, right = row[f"prediction{key}"], row["reference"]
            row[f"figures{key}"] = {
                "wer_raw": word_errors(right, said),
                "wer_whisper": word_errors(whisper(right), whisper(said)),
            }
        jiwer = version_of("jiwer")
        how = {
            "wer": f"{jiwer}, without case, punctuation and articles",
            "wer_raw": f"{jiwer}, split at spaces, not normalized",
            "wer_whisper": f"{jiwer}, {name}",
        }
        empty = sum(not spoken_words(row["reference"]) for row in rows)
        if empty:
            how["left out of wer"] = f"{empty} transcripts without reference words"
        return Scores(how=how)

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        """`wer`: word errors over reference words; and the metrics in `figures{key}`."""
        counted = [
            word_errors(spoken_words(row["reference"]), spoken_words(row[f"prediction{key}"]))
            for row in rows
        ]
        plain = [float(e) for e, _ in counted], [float(w) for _, w in counted]
        return {"wer": plain, **super().columns(rows, key)}
