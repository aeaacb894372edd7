"""Validates decoded samples and mixes them down to mono.

A file may decode without error and still be unusable; it is rejected here, or a warning is logged
where it can still be used.
"""

from __future__ import annotations

import logging

import numpy as np

from pal_plugin.audio.errors import AudioError

logger = logging.getLogger(__name__)

#: Includes seismographs and bat detectors; a header of 1 Hz, which would turn a clip into hours, is
#: outside.
RATES_HZ = (1000, 1_000_000)
LONGEST_HOURS = 24
#: Floats should be in -1..1. Peaks above LOUD mean another unit, and log a warning; peaks above
#: LOUDEST, larger than any integer, are rejected, since their power overflows float32.
LOUD, LOUDEST = 16.0, 2.0**31
#: Minimum power of the mean of channels, relative to that of uncorrelated channels; below it the
#: channels cancel each other.
_CANCELS = 0.05


def check_length(frames: int, rate_hz: int, name: str) -> None:
    """Raises AudioError for implausible sampling rates and clips longer than `LONGEST_HOURS`."""
    least, most = RATES_HZ
    hours = frames / max(1, rate_hz) / 3600
    if not least <= rate_hz <= most:
        raise AudioError(
            f"{name} declares {rate_hz} Hz, so its {frames} samples would be {hours:.2f} hours; "
            f"expected {least} to {most} Hz: correct the rate, or drop the clip"
        )
    if hours > LONGEST_HOURS:
        raise AudioError(
            f"{name} is {hours:.1f} hours long; expected at most {LONGEST_HOURS}: split it"
        )


def to_mono(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples `[S]` or `[S, channels]` -> `[S]` float32, the mean of the channels.

    If the channels cancel each other (inverted copies), uses the loudest one and logs a warning.

    Raises:
        AudioError: if there are no samples, or they are non-finite or too large.
    """
    if samples.size == 0:
        raise AudioError(f"{name} has no samples; expected at least one")
    peak = float(max(samples.max(), -samples.min()))
    if not np.isfinite(peak):
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(
            f"{name} has {bad} non-finite samples of {samples.size}; repair or drop the clip"
        )
    if peak > LOUDEST:
        raise AudioError(
            f"{name} has a peak of {peak:.3g}; expected float samples in -1..1: rescale them, or "
            "drop the clip"
        )
    if peak > LOUD:
        logger.warning(
            "%s has a peak of %.6g; expected float samples in -1..1. It is used unchanged; "
            "divide samples in the range of int16 by 32768",
            name,
            peak,
        )
    return np.ascontiguousarray(_mean(samples, name), dtype=np.float32)


def _mean(samples: np.ndarray, name: str) -> np.ndarray:
    """Sums columns, since NumPy's mean over a short axis takes as long as decoding FLAC."""
    if samples.ndim == 1:
        return samples
    columns = samples.T
    if len(columns) == 1:
        return columns[0]
    mono = columns[0].copy()
    for column in columns[1:]:
        mono += column
    mono /= len(columns)
    powers = [_power(column) for column in columns]
    if _power(mono) >= _CANCELS * sum(powers) / len(columns) ** 2:
        return mono
    loudest = int(np.argmax(powers))
    logger.warning(
        "the %d channels of %s cancel each other (inverted copies); using channel %d only",
        len(columns),
        name,
        loudest + 1,
    )
    return columns[loudest]


def _power(samples: np.ndarray) -> float:
    """Variance, which ignores a DC offset; in float64, for very quiet clips."""
    return float(np.var(samples, dtype=np.float64))
