"""The forms a caller has a clip in: a path, bytes, an open file, arrays, what datasets give.

Every form becomes one of two: the bytes of a file, or an array with its sample rate.
"""

from __future__ import annotations

import io
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
        return {"array", "sampling_rate"} <= set(audio) or (bool(audio) and set(audio) <= _KEYS)
    pair = isinstance(audio, tuple | list) and len(audio) == 2 and is_number(audio[1])
    return pair or hasattr(audio, "read") or _is_decoder(audio) or _is_decoded(audio)


def is_number(value: Any) -> bool:
    """A number, or an array or tensor of one, as datasets in another format give the rate."""
    return isinstance(value, Real) or (getattr(value, "ndim", None) == 0 and hasattr(value, "item"))


def _is_decoder(audio: Any) -> bool:
    return hasattr(audio, "get_all_samples")


def _is_decoded(audio: Any) -> bool:
    """What a decoder of torchcodec gives."""
    return hasattr(audio, "data") and hasattr(audio, "sample_rate")


def unpacked(source: Any) -> Any:
    """A clip without its wrapping: `(array or tensor, rate)`, or what `read_file` takes.

    Hugging Face's datasets give `{"array", "sampling_rate"}`, `{"bytes", "path"}` where they do not
    decode, and from version 4 on a decoder as torchcodec's, which also knows how many seconds were
    asked for.

    Raises:
        AudioError: a mapping that holds no audio, or a decoder that fails.
    """
    if _is_decoder(source):
        try:
            source = source.get_all_samples()
        except ImportError:
            raise
        except Exception as error:  # a decoder of others
            raise AudioError(
                f"cannot decode the clip of a {type(source).__name__}: {error}"
            ) from error
    if _is_decoded(source) and not isinstance(source, memoryview):
        return source.data, source.sample_rate
    if not isinstance(source, Mapping):
        return source
    if source.get("array") is not None and source.get("sampling_rate") is not None:
        return source["array"], source["sampling_rate"]
    for key in ("bytes", "path"):
        if source.get(key) is not None and source.get("array") is None:
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
        except Exception as error:  # closed, open for writing, a broken archive or connection
            raise AudioError(f"cannot read {name}: {error}") from error
        if isinstance(data, bytearray | memoryview):
            data = bytes(data)
        if not isinstance(data, bytes):
            raise AudioError(f"{name} is open as text; open it in binary mode ('rb')")
    else:
        raise AudioError(f"expected {_EXPECTED}, got {type(source).__name__}")
    if not data:
        rewound = "; it was read or written to its end: rewind it, seek(0)" * _is_at_its_end(source)
        raise AudioError(f"{name} is empty (0 bytes){rewound}")
    return data, name


def named(data: bytes, name: str) -> io.BytesIO:
    """The bytes of a file that messages call by its name."""
    file = io.BytesIO(data)
    file.name = name
    return file


def _is_at_its_end(source: Any) -> bool:
    try:
        return source.tell() > 0
    except Exception:  # no file, or one that knows no place
        return False
