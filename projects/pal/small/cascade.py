"""The cascade baseline: Whisper transcribes, and the LLM reads the transcript instead of the audio.

    PAL_DATA=FOLDER python projects/pal/small/cascade.py --tokenizer FILE > output/cascade.json

Both models of the model type are as published; nothing is trained. Each clip is transcribed by
Whisper with its own decoder (greedy, windows of 30 s), the transcript is inserted into the prompt,
and the LLM ranks the candidates by likelihood per token. `named` is the share of clips whose
transcript has the label as its first or only label: keyword search, without any LLM. `--spoken CSV`
adds the word error rate of the transcripts, on clips with known words (columns file and transcript;
files next to the CSV). The weights of `pal weights get small` lack Whisper's tokenizer; the error
without `--tokenizer` says where to get it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from asked import Domain, accuracy, arguments, domains, parsed
from text_only import TextOnly
from transcriber import Transcriber

from pal_plugin.config.zoo import type_section
from pal_plugin.corpora.readers.speech import DIGITS as WORDS
from pal_plugin.datasets.clips import read_annotations
from pal_plugin.evaluation.metrics.answers import spoken_words
from pal_plugin.evaluation.metrics.speech import word_error_rate
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.locations import resolve
from pal_plugin.utils.runtime import progress_bar

FORM = 'A recording is transcribed as: "{transcript}". {question}'
#: Whisper writes isolated numbers as digits.
DIGITS = dict(zip("0123456789", WORDS, strict=True))


def evaluate(
    asked: Sequence[Domain], write: Callable[[Path], str], llm: TextOnly, form: str
) -> dict[str, Any]:
    """Metrics by domain, and under `clips` the transcript and prediction of each clip.

    Args:
        asked: domains to evaluate.
        write: transcribes a clip.
        llm: ranks the candidates.
        form: prompt with {transcript} and {question}.
    """
    results: dict[str, Any] = {}
    clips = []
    with progress_bar(sum(len(d.val) for d in asked), "transcribed", "clip") as bar:
        for domain in asked:
            rows = []
            for clip in domain.val:
                transcript = write(clip.path)
                prompt = form.format(transcript=transcript, question=domain.question)
                chosen = llm.choose(prompt, domain.candidates)
                row = {"domain": domain.name, "file": clip.path.name, "label": clip.label}
                rows.append({**row, "transcript": transcript, "prediction": chosen})
                bar.update()
            labels = [row["label"] for row in rows]
            found = [named(row["transcript"], domain.candidates) for row in rows]
            results[domain.name] = {
                "cascade": accuracy([row["prediction"] for row in rows], labels),
                "named": accuracy(found, labels),
            }
            clips += rows
    return {**results, "clips": clips}


def named(transcript: str, candidates: Sequence[str]) -> str | None:
    """The candidate that occurs first in a transcript, as whole words; None without any."""
    words = [DIGITS.get(word, word) for word in spoken_words(transcript).split()]
    text = f" {' '.join(words)} "
    places = {c: m.start() for c in candidates if (m := re.search(rf" {re.escape(c)} ", text))}
    return min(places, key=places.get) if places else None


def spoken_rate(csv: Path, write: Callable[[Path], str]) -> dict[str, Any]:
    """`{"wer", "n", "clips"}` of the clips in a CSV with the columns file and transcript.

    Raises:
        ConfigError: the file or a column is missing.
    """
    clips = read_annotations(csv, csv.parent, filename_column="file", label_column="transcript")
    with progress_bar(len(clips), "spoken", "clip") as bar:
        written = []
        for clip in clips:
            written.append(write(clip.path))
            bar.update()
    rate = word_error_rate([clip.label for clip in clips], written)
    rows = [
        {"file": clip.path.name, "reference": clip.label, "transcript": text}
        for clip, text in zip(clips, written, strict=True)
    ]
    return {"wer": round(rate, 4), "n": len(clips), "clips": rows}


def main(given: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FILE", help="Whisper's tokenizer.json, or its folder"
    )
    parser.add_argument("--spoken", type=Path, metavar="CSV", help="clips with known transcripts")
    parser.add_argument(
        "--form",
        default=FORM,
        metavar="TEXT",
        help=f"the prompt, with {{transcript}} and {{question}} (default: {FORM!r})",
    )
    options = parsed(parser, given)
    if "{transcript}" not in options.form or "{question}" not in options.form:
        parser.error(f"--form: expected {{transcript}} and {{question}}, got {options.form!r}")
    encoders = type_section(options.model_type)["encoders"]
    checkpoints = [e["checkpoint"] for e in encoders.values() if e and e["type"] == "whisper"]
    if not checkpoints:
        parser.error(f"model type {options.model_type!r} has no Whisper, only {sorted(encoders)}")
    try:
        write = Transcriber(Path(resolve(checkpoints[0])), options.tokenizer)
    except ConfigError as error:
        parser.error(str(error))
    results = {"spoken": spoken_rate(options.spoken, write)} if options.spoken else {}
    asked = domains(options.audio, options.every)
    results |= evaluate(asked, write, TextOnly(options.model_type), options.form)
    facts = {"model_type": options.model_type, "form": options.form, "every": options.every}
    print(json.dumps({**results, "settings": facts}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
