"""Word error rates by jiwer: raw, after `spoken_words`, and after Whisper's English normalizer.

Errors are kept per transcript, so that the rate of any set of clips is a ratio of sums. Transcripts
without reference words have no rate and are excluded from all three.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from pal_plugin.evaluation.metrics.answers import spoken_words
from pal_plugin.utils.errors import ConfigError


def word_errors(reference: str, prediction: str) -> tuple[int, int]:
    """`(substituted, deleted and inserted words; reference words)`.

    A reference without words gives (0, 0).

    Raises:
        ConfigError: jiwer is not installed.
    """
    jiwer = _jiwer()
    if not reference.split():
        return 0, 0
    found = jiwer.process_words(reference, prediction)
    errors = found.substitutions + found.deletions + found.insertions
    return errors, found.hits + found.substitutions + found.deletions


def word_error_rate(references: Sequence[str], predictions: Sequence[str]) -> float | None:
    """Word error rate over all rows, after `spoken_words`; None without reference words."""
    pairs = zip(references, predictions, strict=True)
    counted = [word_errors(spoken_words(r), spoken_words(p)) for r, p in pairs]
    words = sum(count for _, count in counted)
    return sum(errors for errors, _ in counted) / words if words else None


def whisper_normaliser(spelling: str | Path | None = None) -> tuple[Callable[[str], str], str]:
    """transformers' version of Whisper's English normalizer, and its name for the results.

    Args:
        spelling: its table of British and American spellings, `normalizer.json` of a Whisper
            checkpoint (the file, or its folder). None keeps spellings, and the name says so.

    Raises:
        ConfigError: `spelling` cannot be read.
    """
    import transformers
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    table, note = {}, "without its table of spellings"
    if spelling is not None:
        path = Path(spelling).expanduser()
        path = path / "normalizer.json" if path.is_dir() else path
        try:
            table = json.loads(path.read_text("utf-8"))
        except (OSError, json.JSONDecodeError) as error:
            raise ConfigError(
                f"the table of spellings {path} cannot be read ({error}); give the normalizer.json "
                "of a Whisper checkpoint, or null"
            ) from error
        note = f"with {path.name} of {len(table)} spellings"
    return EnglishTextNormalizer(table), (
        f"EnglishTextNormalizer of transformers {transformers.__version__}, {note}"
    )


def _jiwer():
    try:
        import jiwer
    except ImportError as error:
        raise ConfigError(
            "word error rates need jiwer: pip install jiwer, or exclude transcripts with "
            "datasets.NAME.tasks.transcript=0"
        ) from error
    return jiwer
