"""Samples in a caller's array, as floats in -1..1."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from pal_plugin.audio.errors import AudioError


def from_array(array: Any, rate_hz: Any) -> tuple[np.ndarray, int]:
    """`(samples [S] or [S, channels] float32, rate)` of an array `[S]`, `[channels, S]` or
    `[S, channels]`; the shorter side is the channels.

    Raises:
        AudioError: another shape or type, or a rate that is no positive whole number.
    """
    if hasattr(rate_hz, "item") and np.ndim(rate_hz) == 0:
        rate_hz = rate_hz.item()
    try:
        samples = np.asarray(array)
    except Exception as error:  # lists of different lengths, or of what is no number
        raise AudioError(f"expected an array of numbers: {error}") from error
    if samples.ndim == 0 and np.ndim(rate_hz) > 0:
        raise AudioError("expected (array, sample_rate_hz), got (number, array): swap the two")
    if not isinstance(rate_hz, Real) or not 0 < rate_hz < float("inf") or rate_hz != int(rate_hz):
        raise AudioError(f"sample_rate_hz must be a positive whole number, got {rate_hz!r}")
    if samples.ndim not in (1, 2):
        raise AudioError(
            f"expected an array [S], [channels, S] or [S, channels], got shape {samples.shape}"
        )
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    if not samples.dtype.isnative:  # as AU and SPHERE have them
        samples = samples.astype(samples.dtype.newbyteorder("="))
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128.0) / 128.0
    elif samples.dtype in (np.int8, np.int16, np.int32):
        samples = samples / float(-np.iinfo(samples.dtype).min)
    elif not np.issubdtype(samples.dtype, np.floating):
        raise AudioError(
            f"expected float samples in -1..1, or int16, int32, int8 or uint8, got {samples.dtype} "
            "(as a list of int is); its range is unknown: convert it, samples.astype('int16') for "
            "signed samples of 16 bits"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as not finite
        return samples.astype(np.float32), int(rate_hz)
