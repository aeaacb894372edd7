"""Converts audio arrays of a caller to float32 in -1..1."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from pal_plugin.audio.errors import AudioError


def from_array(array: Any, rate_hz: Any) -> tuple[np.ndarray, int]:
    """Converts an array `[S]`, `[channels, S]` or `[S, channels]` (the shorter axis is channels) to
    `(samples [S] or [S, channels] float32, rate in Hz)`. Integers are scaled by their type's range.

    Raises:
        AudioError: if shape or dtype is not supported, or the rate is not a positive integer.
    """
    if hasattr(rate_hz, "item") and np.ndim(rate_hz) == 0:
        rate_hz = rate_hz.item()
    try:
        samples = np.asarray(array)
    except Exception as error:  # ragged lists, or elements that are not numbers
        raise AudioError(f"expected an array of numbers: {error}") from error
    if samples.ndim == 0 and np.ndim(rate_hz) > 0:
        raise AudioError("expected (array, sample_rate_hz), got (number, array): swap the two")
    if not isinstance(rate_hz, Real) or not 0 < rate_hz < float("inf") or rate_hz != int(rate_hz):
        raise AudioError(f"sample_rate_hz must be a positive integer, got {rate_hz!r}")
    if samples.ndim not in (1, 2):
        raise AudioError(
            f"expected an array [S], [channels, S] or [S, channels], got shape {samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    if not samples.dtype.isnative:  # e.g. from AU and SPHERE
        samples = samples.astype(samples.dtype.newbyteorder("="))
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype in (np.int8, np.int16, np.int32):
        samples = samples / float(-np.iinfo(samples.dtype).min)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"expected float samples in -1..1, or int16, int32, int8 or uint8, got {samples.dtype} "
            "(the dtype of a list of int), whose range is unknown: convert it, e.g. "
            "samples.astype('int16') for 16-bit samples"
        )
    with np.errstate(over="ignore"):  # float32 overflow is reported as non-finite later
        return samples.astype(np.float32), int(rate_hz)
