"""The forms a caller has a clip in: a path, bytes, an open file, arrays, what datasets give.

Every form becomes one of two: the bytes of a file, or an array with its sample rate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from pal_plugin.audio.errors import AudioError

_EXPECTED = (
    "a path, bytes, a binary file, (array, sample_rate_hz), "
    "{'array': ..., 'sampling_rate': ...} or a decoder with get_all_samples()"
)
# Of Hugging Face's datasets; a mapping with other keys is no clip of theirs.
_KEYS = {"array", "sampling_rate", "path", "bytes"}


def is_one_clip(audio: Any) -> bool:
    """Whether `audio` is one clip in a form that `load_audio` takes; otherwise it holds clips."""
    if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    if isinstance(audio, Mapping):
        return set(audio) <= _KEYS
    pair = isinstance(audio, tuple | list) and len(audio) == 2 and isinstance(audio[1], Real)
    return pair or hasattr(audio, "read") or hasattr(audio, "get_all_samples")


def unpacked(source: Any) -> Any:
    """A clip without its wrapping: `(array or tensor, rate)`, or what `read_file` takes.

    Hugging Face's datasets give `{"array", "sampling_rate"}`, `{"bytes", "path"}` where they do not
    decode, and from version 4 on a decoder as torchcodec's, which also knows how many seconds were
    asked for.

    Raises:
        AudioError: a mapping that holds no audio.
    """
    if hasattr(source, "get_all_samples"):
        samples = source.get_all_samples()
        return samples.data, int(samples.sample_rate)
    if not isinstance(source, Mapping):
        return source
    if source.get("array") is not None and source.get("sampling_rate") is not None:
        return source["array"], source["sampling_rate"]
    for key in ("bytes", "path"):
        if source.get(key) is not None and "array" not in source:
            return source[key]
    raise AudioError(f"expected {_EXPECTED}, got a mapping of {', '.join(map(repr, source))}")


def read_file(source: Any) -> tuple[bytes, str]:
    """The bytes of a path, an open binary file or bytes, and what messages call them.

    Raises:
        AudioError: it cannot be read, is empty, or is none of these.
    """
    if isinstance(source, str | os.PathLike):
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise AudioError(f"cannot open {name}: {error}") from error
    elif isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), f"audio of {len(source)} bytes"
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "the open file"))
        try:
            data = source.read()
        except (OSError, ValueError) as error:  # closed, or open for writing, or no UTF-8
            raise AudioError(f"cannot read {name}: {error}") from error
        if not isinstance(data, bytes):
            raise AudioError(f"{name} is open as text; open it in binary mode ('rb')")
    else:
        raise AudioError(f"expected {_EXPECTED}, got {type(source).__name__}")
    if not data:
        raise AudioError(f"{name} is empty (0 bytes)")
    return data, name
