"""One clip in, the features of every encoder out.

Design choice: a clip is decoded once and resampled once per sample rate; encoders with the same
rate share the resampled waveform.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pal_plugin.audio.features import Features, report_cut
from pal_plugin.audio.io import is_one_clip, load_audio, resample
from pal_plugin.batch import Batch
from pal_plugin.encoders import AudioFeatures, build_features
from pal_plugin.utils.spelling import reject_unknown

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
            clip (up to `max_s` of the features, which is logged where it cuts) but a rest below
            `MIN_TAIL_S`. W may differ between encoders whose windows differ.

        Raises:
            AudioError: the clip cannot be used.
        """
        waveform, rate_hz = load_audio(source)
        self._report_cuts(source, len(waveform), rate_hz)
        resampled: dict[tuple[int, int], Tensor] = {}
        result = {}
        for name, features in self.features.items():
            length = _without_tail(
                features.heard_samples(len(waveform), rate_hz), rate_hz, features
            )
            key = (length, features.sample_rate_hz)
            if key not in resampled:
                resampled[key] = resample(waveform[:length], rate_hz, features.sample_rate_hz)
            result[name] = features(resampled[key])
        return result

    def _report_cuts(self, source: Any, samples: int, rate_hz: int) -> None:
        """One warning for each limit that is exceeded."""
        cut: dict[float, list[str]] = {}
        for name, features in self.features.items():
            if features.heard_samples(samples, rate_hz) < samples:
                cut.setdefault(features.max_s, []).append(name)
        clip = str(source) if isinstance(source, str | Path) else "a clip"
        for max_s, names in cut.items():
            report_cut(clip, samples / rate_hz, max_s, names)

    def joined(self, batch: Batch) -> Features:
        """`batch["audio"]`, whose forms are told apart here, as `collate` gives it.

        It may be that already; or clips, each what `load_audio` reads or the features of one clip;
        or those of one clip alone.

        Raises:
            ValueError: no clip, or one that does not stand in a list.
        """
        audio = batch.get("audio")
        if is_one_clip(audio):
            raise ValueError("samples['audio'] is one clip; write a list of clips: [clip]")
        if isinstance(audio, dict) and audio:
            return audio if "windows" in next(iter(audio.values())) else self.collate([audio])
        clips = list(audio) if audio is not None else []
        if not clips:
            raise ValueError(
                "expected samples['audio'] (what the audio processor makes, or a list of paths or "
                f"(array, rate) pairs); the sample has the keys {sorted(batch)}. To ask without "
                "audio, mask it: samples['audio_mask'] = torch.zeros(rows, dtype=torch.bool)"
            )
        return self.collate([clip if isinstance(clip, dict) else self(clip) for clip in clips])

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


def _without_tail(samples: int, rate_hz: int, features: AudioFeatures) -> int:
    """Samples to keep: all, or whole windows where hardly anything follows them."""
    overlap = features.overlap_s * rate_hz
    shift = features.window_s * rate_hz - overlap
    full, rest = divmod(samples - overlap, shift)
    if full < 1 or rest >= MIN_TAIL_S * rate_hz:
        return samples
    return int(full * shift + overlap + 1e-6)
