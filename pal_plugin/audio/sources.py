"""Accepted forms of a clip: paths, bytes, file objects, arrays, values of Hugging Face datasets.

All are reduced to two forms: the bytes of a file, or an array with its sampling rate.
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
# Keys of Hugging Face datasets' audio values; mappings with other keys are something else.
_KEYS = {"array", "sampling_rate", "path", "bytes"}


def is_one_clip(audio: Any) -> bool:
    """Whether `audio` is one clip in a form that `load_audio` accepts, and not a collection."""
    if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    if isinstance(audio, Mapping):
        return {"array", "sampling_rate"} <= set(audio) or (bool(audio) and set(audio) <= _KEYS)
    pair = isinstance(audio, tuple | list) and len(audio) == 2 and is_number(audio[1])
    return pair or hasattr(audio, "read") or _is_decoder(audio) or _is_decoded(audio)


def is_number(value: Any) -> bool:
    """A number, or a scalar array or tensor (some dataset formats return the rate as one)."""
    return isinstance(value, Real) or (getattr(value, "ndim", None) == 0 and hasattr(value, "item"))


def _is_decoder(audio: Any) -> bool:
    return hasattr(audio, "get_all_samples")


def _is_decoded(audio: Any) -> bool:
    """Whether it is the output of a torchcodec decoder."""
    return hasattr(audio, "data") and hasattr(audio, "sample_rate")


def unpacked(source: Any) -> Any:
    """Reduces a clip to `(array or tensor, rate)`, or an input of `read_file`.

    Hugging Face datasets return `{"array", "sampling_rate"}`, `{"bytes", "path"}` if decoding is
    off, and from version 4 on a torchcodec decoder, which also applies a requested duration.

    Raises:
        AudioError: if a mapping has no audio, or a decoder fails.
    """
    if _is_decoder(source):
        try:
            source = source.get_all_samples()
        except ImportError:
            raise
        except Exception as error:  # third-party decoder
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
    """The bytes of a path, open binary file or bytes object, and a name for messages.

    Raises:
        AudioError: if it cannot be read, is empty, or is none of these.
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
        except Exception as error:  # closed, write-only, a broken archive or connection
            raise AudioError(f"cannot read {name}: {error}") from error
        if isinstance(data, bytearray | memoryview):
            data = bytes(data)
        if not isinstance(data, bytes):
            raise AudioError(f"{name} is open in text mode; open it in binary mode ('rb')")
    else:
        raise AudioError(f"expected {_EXPECTED}, got {type(source).__name__}")
    if not data:
        rewound = "; it is at its end: rewind it with seek(0)" * _is_at_its_end(source)
        raise AudioError(f"{name} is empty (0 bytes){rewound}")
    return data, name


def named(data: bytes, name: str) -> io.BytesIO:
    """Wraps file content, with a name for messages."""
    file = io.BytesIO(data)
    file.name = name
    return file


def _is_at_its_end(source: Any) -> bool:
    try:
        return source.tell() > 0
    except Exception:  # not a file, or not seekable
        return False
