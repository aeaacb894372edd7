"""Scores of generated captions against several references each.

BLEU, ROUGE-L, CIDEr and METEOR by pycocoevalcap, CIDEr-D and FENSE by aac-metrics, SPICE by
pycocoevalcap's jar if its models were downloaded. Each score names its package, version and
tokenizer; scores that cannot be computed are reported as missing, with the way to get them. Nothing
is downloaded here.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pal_plugin.evaluation.metrics.missing import MissingScoreError, version_of
from pal_plugin.evaluation.metrics.tokenizers import java, tokenize
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean


@dataclass(frozen=True)
class Score:
    """One score of a set of captions.

    Attributes:
        value: of the set, in the package's unit (CIDEr 0 to 10, the others 0 to 1; published tables
            usually show 100 times that).
        rows: of each caption, if the set's score is their mean; else None.
        package: name and version of the package that computed it.
        tokenizer: name of the tokenizer.
    """

    value: float
    rows: list[float] | None
    package: str
    tokenizer: str


@dataclass
class CaptionScores:
    """Scores by name, and for each missing one the way to get it."""

    scores: dict[str, Score] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


#: Input of a scorer: the words of each candidate, and of each of its references.
Words = tuple[list[str], list[list[str]]]
#: Values by name with the rows they are the mean of, and the package.
Found = tuple[dict[str, tuple[float, list[float] | None]], str]


def caption_scores(
    candidates: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenizer: str = "auto",
    wanted: Sequence[str] | None = None,
) -> CaptionScores:
    """Score captions.

    Args:
        candidates: one generated caption per clip.
        references: of the same clips, at least one each.
        tokenizer: see `tokenizers.tokenize`.
        wanted: names in `SCORERS`, or "spider" for the two it is the mean of; None for all.

    Raises:
        ConfigError: an unknown score.
        ValueError: lengths that differ, or a clip without references.
    """
    if len(candidates) != len(references):
        raise ValueError(f"{len(candidates)} captions and {len(references)} lists of references")
    if not candidates or not all(references):
        raise ValueError("expected at least one caption, and one reference or more for each")
    names = scorer_names(wanted)
    result = CaptionScores()
    try:
        words, cut_by = _cut(candidates, references, tokenizer)
    except MissingScoreError as error:
        return CaptionScores(missing=dict.fromkeys(names, str(error)))
    for name in names:
        try:
            found, package = SCORERS[name](words)
        except MissingScoreError as error:
            result.missing[name] = str(error)
            continue
        except ImportError as error:  # of a package's own packages: no reason to lose the others
            result.missing[name] = f"its package cannot be imported: {error}"
            continue
        for key, (value, rows) in found.items():
            result.scores[key] = Score(value, rows, package, cut_by)
    _spider(result, names)
    return result


def scorer_names(wanted: Sequence[str] | None) -> list[str]:
    """Names in `SCORERS` of the wanted scores, with those that "spider" needs; None for all.

    Raises:
        ConfigError: an unknown score.
    """
    names = list(SCORERS) if wanted is None else list(dict.fromkeys(wanted))
    if "spider" in names:
        names.remove("spider")
        names += [name for name in ("cider", "spice") if name not in names]
    for name in names:
        if name not in SCORERS:
            known = [*SCORERS, "spider"]
            raise ConfigError(f"no captioning score {name!r}. {did_you_mean(name, known)}")
    return names


def _cut(candidates: Sequence[str], references: Sequence[Sequence[str]], tokenizer: str):
    """Tokenize all captions in one call: separate Java processes would be slower than scoring."""
    flat = [*candidates, *(text for texts in references for text in texts)]
    words, name = tokenize(flat, tokenizer)
    rest = iter(words[len(candidates) :])
    return (words[: len(candidates)], [[next(rest) for _ in texts] for texts in references]), name


def _coco(words: Words, scorer: str, *arguments: Any) -> tuple[Any, Sequence[Any]]:
    """Result of a pycocoevalcap scorer ("Rouge"): the set's value, and those of the rows."""
    module = importlib.import_module(f"pycocoevalcap.{scorer.lower()}.{scorer.lower()}")
    candidates, references = words
    with contextlib.redirect_stdout(io.StringIO()):
        return getattr(module, scorer)(*arguments).compute_score(
            dict(enumerate(references)), {i: [text] for i, text in enumerate(candidates)}
        )


def _mean(name: str, found: tuple[Any, Sequence[Any]], package: str) -> Found:
    """A score of the set that is the mean of its rows."""
    value, rows = found
    return {name: (float(value), [float(row) for row in rows])}, package


def _bleu(words: Words) -> Found:
    package = version_of("pycocoevalcap")
    values, _ = _coco(words, "Bleu", 4)
    # Counts of n-grams are summed over the set, so the captions' own values do not average to it.
    return {f"bleu_{n}": (float(value), None) for n, value in enumerate(values, 1)}, package


def _rouge_l(words: Words) -> Found:
    package = version_of("pycocoevalcap")
    return _mean("rouge_l", _coco(words, "Rouge"), package)


def _cider(words: Words) -> Found:
    package = version_of("pycocoevalcap")
    _require_two(words)
    return _mean("cider", _coco(words, "Cider"), package)


def _meteor(words: Words) -> Found:
    package = version_of("pycocoevalcap")
    java()
    candidates, references = words
    # METEOR's protocol: one line per caption, with "|||" between the parts.
    clean = (
        [c.replace("|||", " ") for c in candidates],
        [[r.replace("|||", " ") for r in rs] for rs in references],
    )
    try:
        # The set's score comes from summed counts, as BLEU's does.
        value, _ = _coco(clean, "Meteor")
        return {"meteor": (float(value), None)}, f"{package} (meteor-1.5.jar)"
    except (OSError, ValueError) as error:
        raise MissingScoreError(f"meteor-1.5.jar failed: {error}") from error


def _cider_d(words: Words) -> Found:
    package = version_of("aac-metrics")
    from aac_metrics.functional.cider_d import cider_d

    _require_two(words)
    whole, rows = cider_d(*words)
    return _mean("cider_d", (whole["cider_d"], rows["cider_d"]), package)


def _spice(words: Words) -> Found:
    package = version_of("pycocoevalcap")
    java()
    from pycocoevalcap.spice import spice

    models = Path(spice.__file__).parent / "lib" / "stanford-corenlp-3.6.0-models.jar"
    if not models.is_file():
        raise MissingScoreError(
            "SPICE needs Stanford CoreNLP 3.6.0, some 400 MB that pycocoevalcap does not ship: run "
            f"`python get_stanford_models.py` in {models.parents[1]}; it was written for Java 8"
        )
    try:
        value, rows = _coco(words, "Spice")
    except (OSError, subprocess.CalledProcessError, ValueError) as error:
        raise MissingScoreError(
            f"spice-1.0.jar failed ({error}); it was written for Java 8"
        ) from error
    return _mean("spice", (value, [row["All"]["f"] for row in rows]), package)


def _fense(words: Words) -> Found:
    package = version_of("aac-metrics")
    cache = Path(os.environ.get("TORCH_HOME", "~/.cache/torch")).expanduser()
    detector = cache / "hub" / "fense_data" / "echecker_clotho_audiocaps_base.ckpt"
    if not detector.is_file():
        raise MissingScoreError(
            f"FENSE needs its two models ({detector} is not there): run aac-metrics-download where "
            "there is a connection"
        )
    from aac_metrics.functional.fense import fense
    from aac_metrics.functional.sbert_sim import DEFAULT_SBERT_SIM_MODEL
    from sentence_transformers import SentenceTransformer

    try:
        sentences = SentenceTransformer(DEFAULT_SBERT_SIM_MODEL, local_files_only=True)
        whole, rows = fense(*words, sbert_model=sentences)
    except OSError as error:
        raise MissingScoreError(
            f"FENSE's sentence model cannot be read ({error}): run aac-metrics-download"
        ) from error
    return _mean("fense", (whole["fense"], rows["fense"]), package)


def _require_two(words: Words) -> None:
    if len(words[0]) < 2:
        raise MissingScoreError(
            "CIDEr weighs words by the clips they occur in and needs two clips or more"
        )


def _spider(result: CaptionScores, names: list[str]) -> None:
    """SPIDEr is the mean of CIDEr-D and SPICE; pycocoevalcap's CIDEr is the D form too."""
    if "spice" not in names:
        return
    cider = result.scores.get("cider_d") or result.scores.get("cider")
    spice = result.scores.get("spice")
    if cider is None or spice is None:
        lacking = [result.missing[n] for n in ("cider_d", "cider", "spice") if n in result.missing]
        result.missing["spider"] = "SPIDEr is the mean of CIDEr-D and SPICE. " + "; ".join(lacking)
        return
    rows = None
    if cider.rows is not None and spice.rows is not None:
        rows = [(a + b) / 2 for a, b in zip(cider.rows, spice.rows, strict=True)]
    packages = " and ".join(dict.fromkeys([cider.package, spice.package]))
    result.scores["spider"] = Score(
        (cider.value + spice.value) / 2, rows, packages, cider.tokenizer
    )


#: Scorers by name. `bleu` gives bleu_1 to bleu_4.
SCORERS: dict[str, Callable[[Words], Found]] = {
    "bleu": _bleu,
    "rouge_l": _rouge_l,
    "cider": _cider,
    "cider_d": _cider_d,
    "meteor": _meteor,
    "spice": _spice,
    "fense": _fense,
}
