"""Converts messages to token ids: multiple turns, clips between text, and a label mask.

The format of messages: `utils/messages.py`.

Design choice: the chat template is tried at load (`chat_template.py`), and what it writes between
turns is stored; texts are inserted, and never go through the template. A clip is not a token: its
position is the number of tokens before it (`attention/layout.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pal_plugin.llm.control import Frame
from pal_plugin.llm.prompts import TextFormat
from pal_plugin.utils.messages import turns_of

#: Position of clips that open the first user turn: before the prompt, or in place, like all other
#: clips.
AUDIO_PLACES = ("front", "inline")


@dataclass(frozen=True)
class Turns:
    """A conversation as token ids.

    Args:
        ids: ids of all turns.
        learned: for each id, whether it belongs to an answer or its end token (the label mask).
        clips: the clips, in order.
        places: for each clip, the number of ids before it; 0: before the prompt.
    """

    ids: list[int]
    learned: list[bool]
    clips: list[Any] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add_user(
        self, text: TextFormat, parts: Sequence[str | tuple], system: str | None, audio_place: str
    ) -> None:
        """Appends a user turn and the generation prompt.

        Args:
            parts: texts, and clips as 1-tuples (`messages.content_parts`).
        """
        first = not any(self.learned)
        frame, parts = text.frame(system, first), list(parts)
        if first and audio_place == "front":
            while parts and not isinstance(parts[0], str):
                self.clips.append(parts.pop(0)[0])
                self.places.append(0)
        for run in _runs(frame, parts):
            if isinstance(run, tuple):
                self.clips.append(run[0])
                self.places.append(len(self.ids))
            else:
                self.ids.extend(run)
        self.learned.extend([False] * (len(self.ids) - len(self.learned)))

    def add_answer(self, ids: Sequence[int]) -> None:
        """Appends an answer, including its end token."""
        self.ids.extend(ids)
        self.learned.extend([True] * len(ids))


def read_messages(
    text: TextFormat, messages: Sequence[Mapping[str, Any]], audio_place: str = "front"
) -> Turns:
    """Token ids of a conversation.

    Args:
        text: tokenizer and prompt format.
        messages: an optional system message, then alternating user and assistant messages. A final
            user message is followed by the generation prompt; assistant messages end with their end
            token.
        audio_place: one of `AUDIO_PLACES`.

    Raises:
        ValueError: if messages are malformed, roles do not alternate, a content part is unknown, a
            user turn is empty, or the template or plain format does not support further turns.
    """
    if audio_place not in AUDIO_PLACES:
        raise ValueError(f"audio_place is {audio_place!r}; expected {' or '.join(AUDIO_PLACES)}")
    system, turns = turns_of(messages)
    read = Turns(list(text.beginning), [False] * len(text.beginning))
    for role, parts in turns:
        if role == "user":
            read.add_user(text, parts, system, audio_place)
        else:
            read.add_answer(text.answer_ids("".join(parts)))
    return read


def with_learned(text: TextFormat, turns: Turns) -> str:
    """A conversation as the model reads it, special tokens included, for people: clips are
    `[audio 0]`, and what the loss is computed on stands in «»."""
    changes = {0, len(turns.ids), *turns.places}
    changes |= {at for at in range(1, len(turns.ids)) if turns.learned[at] != turns.learned[at - 1]}
    ends = sorted(changes)
    shown = ""
    for start, end in zip(ends, [*ends[1:], len(turns.ids)], strict=True):
        clips = [c for c, at in zip(turns.clips, turns.places, strict=True) if at == start]
        shown += "".join(f"[audio {clip}]" for clip in clips)
        if start < end:
            piece = text.tokenizer.decode(turns.ids[start:end])
            shown += f"«{piece}»" if turns.learned[start] else piece
    return shown


def _runs(frame: Frame, parts: Sequence[str | tuple]) -> list[list[int] | tuple]:
    """A user turn as ids and clips, in order."""
    texts, clips = [""], []
    for part in parts:
        if isinstance(part, str):
            texts[-1] += part
        else:
            clips.append(part)
            texts.append("")
    if not clips:
        return [frame.encode(texts[0].strip())]
    before, behind = frame.halves()
    encoded = [before.encode(texts[0].lstrip())]
    encoded += [frame.controls.encode_text(t) if t else [] for t in texts[1:-1]]
    encoded.append(behind.encode(texts[-1].rstrip()))
    runs: list[list[int] | tuple] = [encoded[0]]
    for clip, ids in zip(clips, encoded[1:], strict=True):
        runs += [clip, ids]
    return runs
