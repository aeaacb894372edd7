"""Settings of spoken clips; the defaults are in `configs/datasets/pal_spoken.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import yaml

from pal_plugin.config.registry import CONFIGS
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

Range = tuple[float, float]
SPLITS = ("train", "val", "test")
#: Bounds of the ranges.
_LIMITS = {
    "sequence_words": (1, 12),
    "words_per_minute": (80, 400),
    "pitch": (0, 99),
    "pitch_range": (0, 99),
    "silence_s": (0, 10),
    "level_db": (-60, -10),
    "snr_db": (-20, 80),
}


@dataclass(frozen=True)
class Settings:
    """Settings of one split.

    Attributes:
        digits: fraction of clips with a single digit.
        sequences: fraction of the others with a random word sequence.
        sequence_words: range of its number of words, integers.
        words_per_minute: range of the speaking rate.
        pitch, pitch_range: ranges of espeak-ng's parameters, 0 to 99; 50 is the voice's default.
        silence_s: range of the silence before and after the speech, in seconds.
        level_db: range of the clip's RMS level relative to full scale.
        snr_db: range of the signal-to-noise ratio.
        noise, telephone, reverb: fraction of clips with noise, telephone bandwidth, reverberation.

    Raises:
        ConfigError: if a fraction is outside 0..1, or a range is malformed or out of bounds.
    """

    digits: float
    sequences: float
    sequence_words: tuple[int, int]
    words_per_minute: Range
    pitch: Range
    pitch_range: Range
    silence_s: Range
    level_db: Range
    snr_db: Range
    noise: float
    telephone: float
    reverb: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in _LIMITS:
                if not _is_number(value) or not 0 <= value <= 1:
                    raise ConfigError(f"{field.name} must be a fraction in 0..1, got {value!r}")
                continue
            low, high = _LIMITS[field.name]
            whole = isinstance(value, list | tuple) and len(value) == 2
            if not whole or not all(_is_number(v) for v in value) or value[0] > value[1]:
                raise ConfigError(f"{field.name} must be [low, high], got {value!r}")
            if value[0] < low or value[1] > high:
                raise ConfigError(f"{field.name} must lie within {low}..{high}, got {list(value)}")
            if field.name == "sequence_words" and not all(isinstance(v, int) for v in value):
                raise ConfigError(f"{field.name} must be integers, got {list(value)}")
            object.__setattr__(self, field.name, tuple(value))

    @classmethod
    def of_split(cls, build_info: Mapping[str, Any], split: str) -> Settings:
        """Settings from a `build_info`, in which some values may be given per split.

        Raises:
            ConfigError: if the split is unknown, a value is not given for it, or as above.
        """
        if split not in SPLITS:
            raise ConfigError(f"no split {split!r} of spoken clips. {did_you_mean(split, SPLITS)}")
        values = {field.name: build_info[field.name] for field in fields(cls)}
        for name, value in values.items():
            if isinstance(value, Mapping) and split not in value:
                raise ConfigError(f"{name} is set for {sorted(value)}, but not for {split!r}")
        return cls(**{k: v[split] if isinstance(v, Mapping) else v for k, v in values.items()})


def default_build_info() -> dict[str, Any]:
    """The default `build_info` of the dataset."""
    text = (CONFIGS / "datasets" / "pal_spoken.yaml").read_text("utf-8")
    return yaml.safe_load(text)["datasets"]["pal_spoken"]["build_info"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
