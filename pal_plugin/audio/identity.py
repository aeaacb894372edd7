"""Content hashes that identify clips, independent of file names."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from pal_plugin.audio.arrays import from_array
from pal_plugin.audio.sources import named, read_file
from pal_plugin.audio.tensors import without_tensors


def identified(source: Any) -> tuple[str, Any]:
    """`(SHA-256 as hex, the clip as a source for load_audio)`; reads a file only once.

    For files (paths, file objects, bytes) hashes the content, not name or time; for `(array, rate)`
    pairs the samples, their dtype and shape, and the rate. So an excerpt of a recording is a
    different clip.

    Raises:
        AudioError: if a file cannot be read, or the source is not a clip.
    """
    source = without_tensors(source)
    if isinstance(source, tuple | list) and len(source) == 2:
        samples, rate_hz = source
        from_array(samples, rate_hz)  # raises as decoding would
        samples = np.ascontiguousarray(samples)
        digest = hashlib.sha256(f"{samples.dtype.str} {samples.shape} {rate_hz}".encode())
        digest.update(samples.data)
        return digest.hexdigest(), (samples, rate_hz)
    data, name = read_file(source)
    return hashlib.sha256(data).hexdigest(), named(data, name)
