"""What a clip is, whatever its name: a hash of the bytes that are decoded."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pal_plugin.audio.arrays import from_array
from pal_plugin.audio.sources import named, read_file
from pal_plugin.audio.tensors import without_tensors


def identified(source: Any) -> tuple[str, Any]:
    """`(SHA-256 in hexadecimal, the clip as load_audio takes it)`; a file is read once for both.

    Of a file, by path, open or as bytes, what is in it counts, and not its name or time; of an
    `(array, rate)` pair the samples, their type and shape, and the rate. So a part cut out of a
    recording is a clip of its own.

    Raises:
        AudioError: a file that cannot be read, or nothing that can be a clip.
    """
    source = without_tensors(source)
    if isinstance(source, tuple | list) and len(source) == 2:
        samples, rate_hz = source
        from_array(samples, rate_hz)  # what is none is told as when it is heard
        samples = np.ascontiguousarray(samples)
        digest = hashlib.sha256(f"{samples.dtype.str} {samples.shape} {rate_hz}".encode())
        digest.update(samples.data)
        return digest.hexdigest(), (samples, rate_hz)
    data, name = read_file(source)
    return hashlib.sha256(data).hexdigest(), named(data, name)
