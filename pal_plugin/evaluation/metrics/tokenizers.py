"""Tokenizers of captions for scoring.

Published captioning scores use Stanford's PTB tokenizer, which needs Java; pycocoevalcap includes
it. Without Java a plain one is used, and every score names its tokenizer: the two give different
numbers.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.evaluation.metrics.missing import MissingScoreError, version_of
from pal_plugin.utils.characters import composed, is_mark
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

NAMES = ("auto", "ptb", "plain")
PLAIN = "plain (lower case; words of letters, digits and apostrophes)"


def tokenize(captions: Sequence[str], tokenizer: str = "auto") -> tuple[list[str], str]:
    """Tokenized captions, joined by single spaces, and the tokenizer's name for the results.

    Args:
        captions: any texts; line breaks count as spaces.
        tokenizer: "ptb" (Java), "plain", or "auto": PTB if Java is installed, else plain.

    Raises:
        MissingScoreError: "ptb" cannot run here.
        ConfigError: an unknown tokenizer.
    """
    if tokenizer not in NAMES:
        raise ConfigError(f"no tokenizer {tokenizer!r}. {did_you_mean(tokenizer, NAMES)}")
    if tokenizer != "plain":
        try:
            return _ptb(captions)
        except MissingScoreError:
            if tokenizer == "ptb":
                raise
    return [_plain(caption) for caption in captions], PLAIN


def java() -> str:
    """The path of `java`.

    Raises:
        MissingScoreError: Java is not installed.
    """
    found = shutil.which("java")
    if found is None:
        raise MissingScoreError(
            "java is not on the PATH: install a Java runtime, for example "
            "apt-get install default-jre-headless"
        )
    return found


def _plain(caption: str) -> str:
    text = composed(caption).lower().replace("\u2019", "'")
    # Split at marks instead of non-letters: vowel signs of Indic scripts are part of a word.
    return " ".join("".join(" " if is_mark(c) and c not in "'_" else c for c in text).split())


def _ptb(captions: Sequence[str]) -> tuple[list[str], str]:
    """Stanford's tokenizer through a pipe; pycocoevalcap's own call writes files to its folder."""
    name = version_of("pycocoevalcap")
    from pycocoevalcap.tokenizer import ptbtokenizer

    jar = Path(ptbtokenizer.__file__).parent / ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR
    done = subprocess.run(
        [java(), "-Dfile.encoding=UTF-8", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer",
         "-preserveLines", "-lowerCase"],
        input="".join(" ".join(caption.split()) + "\n" for caption in captions),
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if done.returncode or len(lines) != len(captions):
        raise MissingScoreError(
            f"the PTB tokenizer failed (exit code {done.returncode}, {len(lines)} lines for "
            f"{len(captions)} captions): {done.stderr.strip()[-300:]}"
        )
    dropped = set(ptbtokenizer.PUNCTUATIONS)
    words = [" ".join(w for w in line.split() if w not in dropped) for line in lines]
    return words, f"PTB (Stanford CoreNLP 3.4.1, in {name}), lower case, without punctuation"
