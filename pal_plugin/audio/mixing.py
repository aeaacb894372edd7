"""From what was decoded to what is heard: one channel of believable samples.

A file may decode without an error and still hold nothing that can be used; here it is refused, or
told by a warning where people would rather hear it.
"""

from __future__ import annotations

import logging

import numpy as np

from pal_plugin.audio.errors import AudioError

logger = logging.getLogger(__name__)

#: Seismographs and bat detectors lie within; a header that says 1 Hz lies outside, and one clip of
#: it would become hours.
RATES_HZ = (1000, 1_000_000)
LONGEST_HOURS = 24
#: Floats are meant in -1..1. Louder than this they are another unit, which is told; louder than any
#: integer they are no sound, and their powers do not fit into float32.
LOUD, LOUDEST = 16.0, 2.0**31
#: Power of the mean of the channels, as a share of what channels that have nothing to do with one
#: another leave of theirs. Less means that they cancel.
_CANCELS = 0.05


def check_length(frames: int, rate_hz: int, name: str) -> None:
    """Raises:
    AudioError: a sample rate that no recording has, or a clip of more than `LONGEST_HOURS`.
    """
    least, most = RATES_HZ
    hours = frames / max(1, rate_hz) / 3600
    if not least <= rate_hz <= most:
        raise AudioError(
            f"{name} says {rate_hz} Hz, so that its {frames} samples would be {hours:.2f} hours; "
            f"expected {least} to {most} Hz: correct the rate, or drop the clip"
        )
    if hours > LONGEST_HOURS:
        raise AudioError(
            f"{name} is {hours:.1f} hours long; expected at most {LONGEST_HOURS}: cut it into clips"
        )


def to_mono(samples: np.ndarray, name: str) -> np.ndarray:
    """`[S]` or `[S, channels]` -> `[S]` float32, the mean of the channels.

    Where the mean is next to nothing because channels are inverted copies, the loudest one is taken
    and a warning says so.

    Raises:
        AudioError: no samples, samples that are not finite, or too large to be sound.
    """
    if samples.size == 0:
        raise AudioError(f"{name} holds no samples; expected at least one")
    peak = float(max(samples.max(), -samples.min()))
    if not np.isfinite(peak):
        bad = int((~np.isfinite(samples)).sum())
        raise AudioError(
            f"{name} holds {bad} non-finite samples of {samples.size}; "
            "repair or drop the clip, it cannot be listened to"
        )
    if peak > LOUDEST:
        raise AudioError(
            f"{name} has a peak of {peak:.3g}; float samples are meant in -1..1: scale them, or "
            "drop the clip"
        )
    if peak > LOUD:
        logger.warning(
            "%s has a peak of %.6g, but float samples are meant in -1..1; it is heard as it is. "
            "Samples in the range of int16 are divided by 32768",
            name,
            peak,
        )
    return np.ascontiguousarray(_mean(samples, name), dtype=np.float32)


def _mean(samples: np.ndarray, name: str) -> np.ndarray:
    """By columns, as NumPy's mean over a short axis takes as long as decoding FLAC."""
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
        "the %d channels of %s cancel one another (inverted copies); channel %d is heard alone",
        len(columns),
        name,
        loudest + 1,
    )
    return columns[loudest]


def _power(samples: np.ndarray) -> float:
    """Without what is constant, which nobody hears; in double precision, for the very quiet."""
    return float(np.var(samples, dtype=np.float64))
