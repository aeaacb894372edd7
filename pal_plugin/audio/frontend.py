"""One clip in, the features of every encoder out.

Design choice: a clip is decoded once and resampled once per sample rate; encoders with the same
rate share the resampled waveform.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pal_plugin.audio.io import load_audio, resample
from pal_plugin.encoders import build_features, reject_unknown

Features = dict[str, dict[str, Tensor]]

#: A rest shorter than this opens no window of its own: it is less than one feature frame, and many
#: files of "5 s" or "10 s" are a few samples longer.
MIN_TAIL_S = 0.01


class AudioFrontend:
    """Front end of a list of encoders.

    Args:
        encoders: `{name: {"type": ..., "features": {...}}}`; the entries `model` and
            `checkpoint`, which belong to the encoder itself, may be present and are not read.

    Raises:
        ValueError: no encoders, an entry without type, unknown keys, types or feature arguments.
    """

    def __init__(self, encoders: dict[str, dict[str, Any]]) -> None:
        if not encoders:
            raise ValueError("AudioFrontend needs at least one encoder, got none")
        self.features = {}
        for name, entry in encoders.items():
            reject_unknown(entry, ("type", "features", "model", "checkpoint"), f"encoder {name!r}")
            if "type" not in entry:
                raise ValueError(f"encoder {name!r} has no 'type': {dict(entry)}")
            self.features[name] = build_features(entry["type"], dict(entry.get("features") or {}))

    @torch.no_grad()
    def __call__(self, source: Any) -> Features:
        """Features of one clip.

        Args:
            source: whatever `load_audio` reads.

        Returns:
            `{name: {"features": [W, ...], "frames": Long[W]}}`, W windows that hold all of the
            clip but a rest below `MIN_TAIL_S` (W may differ between encoders whose windows differ
            in length).

        Raises:
            AudioError: the clip cannot be used.
        """
        waveform, rate_hz = load_audio(source)
        resampled: dict[tuple[int, int], Tensor] = {}
        result = {}
        for name, features in self.features.items():
            length = _without_tail(len(waveform), rate_hz * features.window_s, rate_hz)
            key = (length, features.sample_rate_hz)
            if key not in resampled:
                resampled[key] = resample(waveform[:length], rate_hz, features.sample_rate_hz)
            result[name] = features(resampled[key])
        return result

    @staticmethod
    def collate(clips: list[Features]) -> Features:
        """Join the clips of a batch along the windows.

        Returns:
            `{name: {"features": [sum W, ...], "frames": Long[sum W], "windows": Long[C]}}`;
            `windows[c]` consecutive rows belong to clip c.

        Raises:
            ValueError: no clips, or clips with different encoders.
        """
        if not clips:
            raise ValueError("cannot collate an empty list of clips")
        for clip in clips:
            if clip.keys() != clips[0].keys():
                raise ValueError(
                    f"clips of one batch need the same encoders, got {list(clips[0])} "
                    f"and {list(clip)}"
                )
        return {
            name: {
                "features": torch.cat([clip[name]["features"] for clip in clips]),
                "frames": torch.cat([clip[name]["frames"] for clip in clips]),
                "windows": torch.tensor([len(clip[name]["frames"]) for clip in clips]),
            }
            for name in clips[0]
        }


def _without_tail(samples: int, window_samples: float, rate_hz: int) -> int:
    """Samples to keep: all, or whole windows where hardly anything follows them."""
    full, rest = divmod(samples, window_samples)
    return int(full * window_samples) if full and rest < MIN_TAIL_S * rate_hz else samples
