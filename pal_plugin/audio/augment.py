"""Data augmentation of training clips, on waveforms and log-mel features.

Design choice: all randomness comes from one `random.Random` that the caller seeds per sample and
pass, so runs are reproducible for any number of DataLoader workers. Every augmentation is off by
default.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from pal_plugin.audio.background import Backgrounds, add_at_snr
from pal_plugin.audio.features import AudioFeatures, Features
from pal_plugin.audio.io import resample
from pal_plugin.utils.files import file_sha256

Range = tuple[float, float]
#: Speeds are multiples of 1/20, which keeps resampling kernels small and few enough to cache.
_SPEED_STEPS = 20
#: Frequency where a tilt is 0 dB, and below which its gain is constant.
_TILT_PIVOT_HZ, _TILT_LOWEST_HZ = 1000.0, 50.0


@dataclass(frozen=True)
class Augment:
    """Random augmentation of one clip.

    Args:
        crop_s: crop longer clips to a random excerpt of this many seconds; None: no cropping.
        crop_probability: fraction of the long clips to crop; the others are used in full, in
            several windows, as in evaluation.
        shift_s: maximum silence prepended to a clip, in seconds; the total stays within `crop_s`.
        gain_db: range of the gain in dB.
        speed: range of the speed; 1.1 is 10 % faster, and higher in pitch.
        tilt_db_per_octave: range of a spectral tilt around 1 kHz (other microphones, distances).
        noise_snr_db: range of the signal-to-noise ratio of added noise (white to pink).
        noise_probability: fraction of the clips with noise.
        mix: background recordings to mix in: a folder of audio files, or a list of them.
        mix_snr_db: range of the ratio of clip to background in dB.
        mix_probability: fraction of the clips with a background.
        mix_loop: loop backgrounds shorter than the clip; otherwise they occur once, at a random
            time.
        time_masks: number of time masks per window and encoder, set to the window's mean.
        time_mask_share: maximum width, as a fraction of the window's valid frames.
        mel_masks: number of frequency masks, as `time_masks` (SpecAugment, arXiv 1904.08779).
        mel_mask_share: maximum width, as a fraction of the mel bins.

    Raises:
        ValueError: if a range is not (low, high), or a value is out of bounds.
        ConfigError: if `mix` has no audio files; later, if a recording cannot be decoded.
    """

    crop_s: float | None = None
    crop_probability: float = 1.0
    shift_s: float = 0.0
    gain_db: Range | None = None
    speed: Range | None = None
    tilt_db_per_octave: Range | None = None
    noise_snr_db: Range | None = None
    noise_probability: float = 0.5
    mix: str | tuple[str, ...] | None = None
    mix_snr_db: Range = (10.0, 20.0)
    mix_probability: float = 0.5
    mix_loop: bool = True
    time_masks: int = 0
    time_mask_share: float = 0.1
    mel_masks: int = 0
    mel_mask_share: float = 0.1

    def __post_init__(self) -> None:
        for name in ("gain_db", "speed", "tilt_db_per_octave", "noise_snr_db", "mix_snr_db"):
            value = getattr(self, name)
            if isinstance(value, list):  # as YAML has it
                value = tuple(value)
                object.__setattr__(self, name, value)
            if value is not None and (len(value) != 2 or value[0] > value[1]):
                raise ValueError(f"augment.{name} must be [low, high] or null, got {value!r}")
        if self.speed is not None and not 0.5 <= self.speed[0] <= self.speed[1] <= 2.0:
            raise ValueError(f"augment.speed must lie within 0.5..2, got {self.speed!r}")
        shares = ("crop_probability", "noise_probability", "mix_probability")
        for name in (*shares, "time_mask_share", "mel_mask_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"augment.{name} must be 0..1, got {getattr(self, name)!r}")
        for name in ("shift_s", "time_masks", "mel_masks"):
            if getattr(self, name) < 0:
                raise ValueError(f"augment.{name} must not be negative, got {getattr(self, name)}")
        if self.crop_s is not None and self.crop_s <= 0:
            raise ValueError(f"augment.crop_s must be positive or null, got {self.crop_s!r}")
        if self.shift_s and self.crop_s is None:
            raise ValueError("augment.shift_s needs augment.crop_s, which limits the total length")
        if self.mix_snr_db is None:
            raise ValueError(
                "augment.mix_snr_db must be [low, high]; augment.mix=null turns it off"
            )
        backgrounds = None if self.mix is None else Backgrounds(self.mix, self.mix_loop)
        object.__setattr__(self, "_backgrounds", backgrounds)  # frozen dataclass; not a field

    def waveform(self, waveform: Tensor, sample_rate_hz: int, rng: random.Random) -> Tensor:
        """Augments a waveform `[S]`; the result has its own length, at least one sample.

        Order: speed, crop, tilt, gain, mix, noise, shift. The input is not modified.
        """
        waveform = self._speed(waveform, rng)
        waveform = self._crop(waveform, sample_rate_hz, rng)
        if self.tilt_db_per_octave is not None:
            waveform = tilt(waveform, sample_rate_hz, rng.uniform(*self.tilt_db_per_octave))
        if self.gain_db is not None:
            waveform = waveform * 10 ** (rng.uniform(*self.gain_db) / 20)
        waveform = self._mix(waveform, sample_rate_hz, rng)
        waveform = self._noise(waveform, rng)
        return self._shift(waveform, sample_rate_hz, rng)

    def features(
        self, features: Features, rng: random.Random, front_ends: Mapping[str, AudioFeatures]
    ) -> Features:
        """Masks log-mel features of every encoder (SpecAugment); masked features are new tensors.

        Args:
            features: `{encoder: {"features": [W, ...], "frames": [W]}}`.
            front_ends: the encoders' front ends, which define the mel axis.

        Raises:
            ValueError: if mel bins of an encoder without any would be masked.
        """
        if not (self.time_masks or self.mel_masks):
            return features
        without = [name for name in features if front_ends[name].mel_axis is None]
        if self.mel_masks and without:
            raise ValueError(
                f"augment.mel_masks is {self.mel_masks}, but the encoder {without[0]!r} reads the "
                "waveform, without mel bins; set it to 0"
            )
        return {
            name: {
                **entry,
                "features": self._masked(
                    entry["features"], entry["frames"], front_ends[name].mel_axis, rng
                ),
            }
            for name, entry in features.items()
        }

    def identity(self) -> str:
        """A string of everything that determines the augmentation except the random numbers: all
        settings, with the content hashes of the recordings to mix in. Reads these files."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        if self._backgrounds is not None:
            settings["mix"] = [file_sha256(path) for path in self._backgrounds.files]
        return repr(settings)

    def _speed(self, waveform: Tensor, rng: random.Random) -> Tensor:
        if self.speed is None:
            return waveform
        steps = round(rng.uniform(*self.speed) * _SPEED_STEPS)
        return resample(waveform, steps, _SPEED_STEPS)

    def _crop(self, waveform: Tensor, sample_rate_hz: int, rng: random.Random) -> Tensor:
        if self.crop_s is None or rng.random() >= self.crop_probability:
            return waveform
        length = max(1, int(self.crop_s * sample_rate_hz))
        spare = waveform.numel() - length
        if spare <= 0:
            return waveform
        start = rng.randint(0, spare)
        return waveform[start : start + length]

    def _mix(self, waveform: Tensor, sample_rate_hz: int, rng: random.Random) -> Tensor:
        if self._backgrounds is None or rng.random() >= self.mix_probability:
            return waveform
        snr_db = rng.uniform(*self.mix_snr_db)
        other = self._backgrounds.excerpt(waveform.numel(), sample_rate_hz, rng)
        return add_at_snr(waveform, other, snr_db)

    def _noise(self, waveform: Tensor, rng: random.Random) -> Tensor:
        if self.noise_snr_db is None or rng.random() >= self.noise_probability:
            return waveform
        snr_db, colour = rng.uniform(*self.noise_snr_db), rng.uniform(0.0, 1.0)
        return add_at_snr(waveform, _coloured_noise(waveform.numel(), colour, rng), snr_db)

    def _shift(self, waveform: Tensor, sample_rate_hz: int, rng: random.Random) -> Tensor:
        if not self.shift_s:
            return waveform
        room = int(self.crop_s * sample_rate_hz) - waveform.numel()
        longest = min(int(self.shift_s * sample_rate_hz), room)
        if longest <= 0:
            return waveform
        return torch.nn.functional.pad(waveform, (rng.randint(0, longest), 0))

    def _masked(
        self, features: Tensor, frames: Tensor, mel_axis: int | None, rng: random.Random
    ) -> Tensor:
        """Masks a copy, through a view `[W, mels, ..., T]`, or `[W, T]` of waveforms."""
        features = features.clone()
        by_window = features if mel_axis is None else features.movedim(mel_axis, 1)
        for window, valid in zip(by_window, frames.tolist(), strict=True):
            valid = min(valid, window.shape[-1])
            mean = window[..., :valid].mean()
            for _ in range(self.mel_masks):
                window[_band(window.shape[0], self.mel_mask_share, rng), ..., :valid] = mean
            for _ in range(self.time_masks):
                window[..., _band(valid, self.time_mask_share, rng)] = mean
        return features


def tilt(waveform: Tensor, sample_rate_hz: int, db_per_octave: float) -> Tensor:
    """Tilts the spectrum of `[S]` around 1 kHz; below 50 Hz the gain is constant."""
    samples = waveform.numel()
    spectrum = torch.fft.rfft(waveform)
    hz = torch.fft.rfftfreq(samples, 1.0 / sample_rate_hz).clamp_min(_TILT_LOWEST_HZ)
    gain_db = db_per_octave * torch.log2(hz / _TILT_PIVOT_HZ)
    return torch.fft.irfft(spectrum * 10 ** (gain_db / 20), n=samples).to(waveform.dtype)


def _coloured_noise(samples: int, colour: float, rng: random.Random) -> Tensor:
    """Noise `[S]` with a power spectrum of 1 / f**colour: 0 is white, 1 pink."""
    generator = torch.Generator().manual_seed(rng.getrandbits(63))
    spectrum = torch.fft.rfft(torch.randn(samples, generator=generator))
    bins = torch.arange(len(spectrum), dtype=torch.float32).clamp_min(1.0)
    return torch.fft.irfft(spectrum * bins ** (-colour / 2), n=samples)


def _band(size: int, share: float, rng: random.Random) -> slice:
    width = rng.randint(0, math.floor(share * size))
    start = rng.randint(0, size - width)
    return slice(start, start + width)
