"""What `pal ask` is asked: clips, questions and labels from words of a command line. No torch."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pal_plugin.audio.extensions import is_audio
from pal_plugin.audio.sources import named
from pal_plugin.clips import clip, clips
from pal_plugin.utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

#: A clip that comes with the package, whatever files there are; and standard input.
SHIPPED, STDIN = "clip:", "-"


class AskError(UserError, ValueError):
    """A clip, question or label that cannot be used; one sentence says why."""


@dataclass(frozen=True, eq=False)
class Heard:
    """A decoded clip.

    Attributes:
        name: as it was given.
        audio: `(samples [S] float32, rate in Hz)`, always the same object.
    """

    name: str
    audio: tuple[np.ndarray, int]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.audio[0]) / self.audio[1]


def names_clip(word: str) -> bool:
    """Whether a word stands for a clip: a file, `-`, `clip:NAME`, or the name of a shipped clip."""
    if word == STDIN or word.startswith(SHIPPED):
        return True
    return _exists(word) or word in {entry.name for entry in clips()}


def split(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Clips, and the question: the last word, unless that names a clip.

    Raises:
        AskError: another word names no clip, or the last one looks like a file but there is none.
    """
    words, question = list(words), None
    if words and not names_clip(words[-1]):
        question = words.pop()
        if is_audio(question) and not _spaced(question):
            raise _no_clip(question)
    for word in words:
        if not names_clip(word):
            raise _no_clip(word, "A question comes last, and one of several words needs quotes")
    return words, question


def read_clips(words: Sequence[str]) -> list[Heard]:
    """The clips, decoded; a word that is given twice is one clip.

    Raises:
        AskError: a word that names no clip.
        AudioError: a file that cannot be decoded.
    """
    known: dict[str, Heard] = {}
    return [known.setdefault(word, known.get(word) or read_clip(word)) for word in words]


def read_clip(word: str) -> Heard:
    """One clip, decoded; errors as in `read_clips`."""
    from pal_plugin.audio.decoding import decode  # lazy: it needs numpy, and --help does not

    return Heard(word, decode(_source(word))[:2])


def checked_question(question: str | None) -> str:
    """The question.

    Raises:
        AskError: there is none, or it is blank.
    """
    if question is None:
        raise AskError(
            "no question: the last argument is a clip; add the question behind it, in quotes"
        )
    if not question.strip():
        raise AskError("the question is empty; expected text, in quotes")
    return question


def read_questions(place: str) -> list[str]:
    """The questions of a file (`-`: standard input), one a line; blank lines are passed over.

    Raises:
        AskError: no such file, not text, or no question in it.
    """
    try:
        text = sys.stdin.read() if place == STDIN else Path(place).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise AskError(f"--questions: cannot read {place}: {error}") from error
    questions = [line.strip() for line in text.splitlines() if line.strip()]
    if not questions:
        raise AskError(f"--questions: {place} has no question; expected one a line")
    return questions


def split_labels(text: str) -> list[str]:
    """Labels between commas.

    Raises:
        AskError: none, one alone, an empty one, or one that is given twice.
    """
    labels = [label.strip() for label in text.split(",")]
    for label in labels:
        if not label:
            raise AskError(f"labels: {text!r} has an empty label; expected a,b,c")
        if labels.count(label) > 1:
            raise AskError(f"labels: {label!r} is given twice")
    if len(labels) == 1:
        raise AskError(
            f"labels: {text!r} is only one, which is always the most probable; expected a,b,c"
        )
    return labels


def _source(word: str) -> Any:
    if word == STDIN:
        return named(sys.stdin.buffer.read(), "standard input")
    if word.startswith(SHIPPED):
        return clip(word.removeprefix(SHIPPED))
    if _exists(word):
        if Path(word).expanduser().is_dir():
            raise AskError(f"{word} is a folder; expected audio files, such as {word}/*.wav")
        return Path(word).expanduser()
    if word in {entry.name for entry in clips()}:
        return clip(word)
    raise _no_clip(word)


def _no_clip(word: str, more: str = "") -> AskError:
    if "://" in word and not _spaced(word):
        return AskError(f"{word} is an address, and nothing is downloaded; give a file, or pipe it")
    if is_audio(word):
        return AskError(f"no audio file {word!r}. {_near(word)}")
    # a list of clips is no help for a question at the wrong place
    told = more if more and _spaced(word) else f"{_near(word)} {more}".rstrip()
    return AskError(f"no audio file or shipped clip {word!r}. {told}")


def _spaced(word: str) -> bool:
    return any(map(str.isspace, word))


def _exists(word: str) -> bool:
    try:
        return bool(word) and Path(word).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # longer than a name may be, ~nobody, or with a NUL
        return False


def _near(word: str) -> str:
    shipped = [entry.name for entry in clips()]
    folder = Path(word).expanduser().parent
    beside = [str(path) for path in folder.glob("*") if is_audio(path.name)]
    near = difflib.get_close_matches(word, [*shipped, *beside], n=1)
    return f"Did you mean {near[0]!r}?" if near else f"Shipped clips: {', '.join(shipped)}."
