"""Short free answers that must equal an accepted one, and transcripts counted by word errors."""

from __future__ import annotations

from typing import Any

from pal_plugin.evaluation.evaluators.base import Asking, Columns, Evaluator, Exact, Finished, Rows
from pal_plugin.evaluation.metrics.answers import spoken_words
from pal_plugin.evaluation.metrics.missing import version_of
from pal_plugin.evaluation.metrics.speech import whisper_normaliser, word_errors


class Questions(Exact):
    """`qa`: a generated answer, compared after `normalise`."""

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        return {"prediction": self.asking(model, samples, "predict_answers")}

    def finish(self, rows: Rows, key: str) -> Finished:
        return Finished(how={"accuracy": "equal to an accepted answer without case and articles"})


class Transcripts(Evaluator):
    """`transcript`: `wer` of `spoken_words`, `wer_whisper` by Whisper's normaliser, `wer_raw`.

    Args:
        spelling: see `speech.whisper_normaliser`.
    """

    def __init__(self, asking: Asking, spelling: str | None = None) -> None:
        super().__init__(asking)
        self.spelling = spelling

    def answer(self, model: Any, samples: dict) -> dict[str, list]:
        return {"prediction": self.asking(model, samples)}

    def finish(self, rows: Rows, key: str) -> Finished:
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
            "wer_raw": f"{jiwer}, words between spaces as they are",
            "wer_whisper": f"{jiwer}, {name}",
        }
        empty = sum(not spoken_words(row["reference"]) for row in rows)
        if empty:
            how["left out of wer"] = f"{empty} transcripts without reference words"
        return Finished(how=how)

    @classmethod
    def columns(cls, rows: Rows, key: str) -> Columns:
        counted = [
            word_errors(spoken_words(row["reference"]), spoken_words(row[f"prediction{key}"]))
            for row in rows
        ]
        plain = [float(e) for e, _ in counted], [float(w) for _, w in counted]
        return {"wer": plain, **super().columns(rows, key)}
