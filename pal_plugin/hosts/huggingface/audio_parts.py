"""Audio as it stands in messages of Hugging Face and OpenAI, brought to what `load_audio` reads.

Nothing is fetched: an address on the net is an error, and base64 is never taken for a path.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = ("audio", "input_audio", "audio_url")
#: Where a part of type "audio" may hold its clip.
_KEYS = ("audio", "path", "url", "base64")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_DATA = re.compile(r"data:[^,]*;base64,", re.IGNORECASE)
_SHOWN = 40


def is_one_conversation(conversation: Any) -> bool:
    """Whether these are messages, and not a batch of conversations."""
    if not isinstance(conversation, Sequence) or isinstance(conversation, str) or not conversation:
        raise ValueError(
            f"expected a list of messages, or a list of such lists, got {conversation!r:.120}"
        )
    return isinstance(conversation[0], Mapping)


def read_parts(messages: Any, sampling_rate: int | None = None) -> list[Any]:
    """The messages with each clip in one form: `{"type": "audio", "audio": clip}`.

    Args:
        messages: of one conversation.
        sampling_rate: of arrays that come without one.

    Raises:
        ValueError: an audio part without a clip, an address, or what is not base64.
    """
    return [_message(message, number, sampling_rate) for number, message in enumerate(messages)]


def _message(message: Any, number: int, sampling_rate: int | None) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list | tuple):
        return message
    parts = [
        _part(part, f"messages[{number}].content[{at}]", sampling_rate)
        for at, part in enumerate(content)
    ]
    return {**message, "content": parts}


def _part(part: Any, where: str, sampling_rate: int | None) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in _KINDS:
        return part
    # Rows of datasets hold every key of every part, most of them None.
    keys = [key for key in (_KEYS if kind == "audio" else (kind,)) if part.get(key) is not None]
    if len(keys) != 1:
        raise ValueError(f"{where} has the keys {sorted(part)}; expected one clip in it")
    value = part[keys[0]]
    if keys[0] == "audio_url":
        value = value.get("url") if isinstance(value, Mapping) else value
    if keys[0] == "input_audio":
        value = value.get("data") if isinstance(value, Mapping) else value
    if keys[0] in ("input_audio", "base64"):
        clip = _decoded(value, where)
    elif keys[0] == "audio_url" and not (isinstance(value, str) and _DATA.match(value)):
        raise ValueError(f"{where} is {_shown(value)}; expected data:audio/...;base64,...")
    else:
        clip = clip_of(value, where, sampling_rate)
    return {"type": "audio", "audio": clip}


def clip_of(value: Any, where: str, sampling_rate: int | None = None) -> Any:
    """A clip as `load_audio` reads it; bytes of a data URI.

    Raises:
        ValueError: an address, broken base64, or an array without a rate.
    """
    if isinstance(value, str):
        if _DATA.match(value):
            return _decoded(value, where)
        if value.startswith("data:") or _ADDRESS.match(value):
            raise ValueError(
                f"{where} is {_shown(value)}, which is not fetched; expected a path, or "
                "data:audio/...;base64,..."
            )
        return value
    if hasattr(value, "shape"):
        if sampling_rate is None:
            raise ValueError(
                f"{where} is an array without its rate; expected (array, rate in Hz), "
                "{'array': ..., 'sampling_rate': ...}, or sampling_rate="
            )
        return value, sampling_rate
    return value


def _decoded(value: Any, where: str) -> bytes:
    text = _DATA.sub("", value, count=1) if isinstance(value, str) else value
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ValueError(f"{where} is {_shown(value)}, which is not base64: {error}") from error


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}...'"
