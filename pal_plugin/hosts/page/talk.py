"""A conversation of one user of the page. Nothing in it changes: each turn makes a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pal_plugin.hosts.page.clips import PageClip

Messages = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Turn:
    """A question and its answers.

    Args:
        question: what was asked.
        clips: those that came with it.
        heard: the answer; what has come of it so far.
        masked: the answer to the same messages with the audio masked out of the attention.
        problem: why there is no answer, or not all of it.
    """

    question: str
    clips: tuple[PageClip, ...] = ()
    heard: str = ""
    masked: str = ""
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Talk:
    """Turns, of which the later ones may have clips too."""

    turns: tuple[Turn, ...] = ()

    @property
    def clips(self) -> tuple[PageClip, ...]:
        """All clips, in the order in which they came."""
        return tuple(clip for turn in self.turns for clip in turn.clips)

    @property
    def answered(self) -> Talk:
        """Without turns that have no answer."""
        return Talk(tuple(turn for turn in self.turns if turn.heard))

    def asking(self, question: str, clip: PageClip | None) -> Talk:
        """With another question, and with the clip if it is a new one.

        Raises:
            ValueError: a question without text, or a first one without a clip.
        """
        if not question.strip():
            raise ValueError("The question is empty. Type one, for example: What do you hear?")
        kept = self.answered
        new = clip is not None and clip not in kept.clips
        if not new and not kept.clips:
            raise ValueError("There is no clip yet. Upload one, record one, or choose one.")
        return Talk((*kept.turns, Turn(question.strip(), (clip,) if new else ())))

    def with_last(self, **fields: Any) -> Talk:
        """With other fields of the last turn."""
        return Talk((*self.turns[:-1], replace(self.turns[-1], **fields)))

    def messages(self) -> Messages:
        """What the model is asked: all turns up to the last question, for `model.chat`."""
        found: Messages = []
        for turn in self.turns:
            found.append({"role": "user", "content": _content(turn.clips, turn.question)})
            found.append({"role": "assistant", "content": turn.heard})
        return found[:-1]

    def alone(self) -> Messages:
        """The last question with all clips so far, as one turn."""
        return [{"role": "user", "content": _content(self.clips, self.turns[-1].question)}]


def labels_of(text: str) -> list[str]:
    """Labels from a text that separates them by commas.

    Raises:
        ValueError: fewer than two, or one twice.
    """
    labels = [label.strip() for label in text.split(",") if label.strip()]
    if len(labels) < 2:
        raise ValueError("Type at least two labels with commas in between: dog, rain, rooster")
    if twice := {label for label in labels if labels.count(label) > 1}:
        raise ValueError(f"These labels are there twice: {', '.join(sorted(twice))}")
    return labels


def _content(clips: Sequence[PageClip], question: str) -> Messages:
    audio = [{"type": "audio", "audio": clip.audio} for clip in clips]
    return [*audio, {"type": "text", "text": question}]
