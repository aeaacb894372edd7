"""Conversations in the message format of OpenAI and Hugging Face: validation, and their clips.

`[{"role": "user", "content": [{"type": "audio", "audio": clip}, {"type": "text", "text": "..."}]},
{"role": "assistant", "content": "..."}, ...]`; content may also be a string. What a clip is depends
on the caller: a path, an array, or the number of a clip in a sample or batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_AUDIO = ("audio", "input_audio", "audio_url")
#: Stands for a clip in the text of a question.
CLIP = "[audio]"

Messages = Sequence[Mapping[str, Any]]


def turns_of(messages: Any) -> tuple[str | None, list[tuple[str, list]]]:
    """The system message (None if there is none), and the turns as `(role, parts)`.

    Raises:
        ValueError: if messages are malformed, roles do not alternate, a content part is unknown, a
            user turn is empty, or another role than the user has audio.
    """
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise ValueError(
            "expected messages as a list, [{'role': 'user', 'content': [{'type': 'audio', 'audio': "
            f"clip}}, {{'type': 'text', 'text': '...'}}]}}], got {_short(messages)}"
        )
    system, turns = None, []
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
            raise ValueError(
                f"messages[{number}] is {_short(message)}; expected a dict with role and content"
            )
        role, parts = message["role"], content_parts(message["content"], f"messages[{number}]")
        if role != "user" and any(not isinstance(part, str) for part in parts):
            raise ValueError(f"messages[{number}] has audio; only user messages may")
        if role == "system" and number == 0:
            system = "".join(parts)
            continue
        expected = "user" if len(turns) % 2 == 0 else "assistant"
        if role != expected:
            raise ValueError(
                f"messages[{number}] has the role {role!r}; expected {expected!r}: user and "
                "assistant alternate, after an optional system message"
            )
        if role == "user" and not _holds_anything(parts):
            raise ValueError(f"messages[{number}] is empty; expected a text or a clip")
        turns.append((role, parts))
    if not turns:
        raise ValueError("expected a user message after the system message")
    return system, turns


def content_parts(content: Any, where: str) -> list[str | tuple]:
    """The parts of a message's content: texts, and clips as 1-tuples.

    Args:
        where: name of the message in errors.

    Raises:
        ValueError: if it is neither a string nor a list of known parts.
    """
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list | tuple):
        raise ValueError(
            f"{where}.content is {_short(content)}; expected a text or a list of parts"
        )
    parts: list[str | tuple] = []
    for at, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text" and isinstance(part.get("text"), str):
            parts.append(part["text"])
        elif kind in _AUDIO and part.get(kind) is not None:
            parts.append((part[kind],))
        else:
            raise ValueError(
                f"{where}.content[{at}] is {_short(part)}; expected {{'type': 'text', "
                "'text': '...'} or {'type': 'audio', 'audio': clip}"
            )
    return parts


def clips_of(messages: Messages) -> list[Any]:
    """The clips of valid messages, in order."""
    turns = turns_of(messages)[1]
    return [part[0] for _, parts in turns for part in parts if not isinstance(part, str)]


def with_clips(messages: Messages, clips: Iterable[Any]) -> list[dict[str, Any]]:
    """A copy of valid messages whose clips are replaced by these, in order."""
    left, copied = iter(clips), []
    for message in messages:
        content = message["content"]
        if not isinstance(content, str):
            content = [
                {"type": "audio", "audio": next(left)} if part["type"] in _AUDIO else dict(part)
                for part in content
            ]
        copied.append({**message, "content": content})
    return copied


def answered(messages: Messages, answer: str | None) -> Messages:
    """The messages with an answer to their last question; unchanged for None.

    Raises:
        ValueError: if they are invalid, or already end with an answer.
    """
    if answer is None:
        return messages
    if turns_of(messages)[1][-1][0] != "user":
        raise ValueError(
            f"the conversation ends with an answer, but there is another: {answer!r:.80}"
        )
    return [*messages, {"role": "assistant", "content": answer}]


def question_and_answer(messages: Messages) -> tuple[str, str]:
    """The texts of the last question, with `CLIP` for its clips, and of its answer.

    Raises:
        ValueError: as `turns_of`, or if they do not end with an answer, or a blank one.
    """
    turns = turns_of(messages)[1]
    role, parts = turns[-1]
    answer = "".join(parts) if role == "assistant" else ""
    if not answer.strip():
        raise ValueError(
            f"messages end with {_short(messages[-1])}; expected the assistant's answer"
        )
    asked = (part if isinstance(part, str) else f" {CLIP} " for part in turns[-2][1])
    return " ".join("".join(asked).split()), answer


def _holds_anything(parts: Sequence[str | tuple]) -> bool:
    return any(not isinstance(part, str) or part.strip() for part in parts)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
