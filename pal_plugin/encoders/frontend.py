"""Computes the features of a clip for every encoder, or looks up cached encoder states.

Design choice: a clip is decoded once and resampled once per sampling rate; encoders with the same
rate share the resampled waveform. A clip with all states cached is not decoded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pal_plugin.audio.features import Features, report_cut
from pal_plugin.audio.identity import identified
from pal_plugin.audio.io import is_one_clip, load_audio, resample
from pal_plugin.batch import COUNT_KEYS, Batch
from pal_plugin.encoders import AudioFeatures, build_features
from pal_plugin.encoders.cache import CacheSettings
from pal_plugin.encoders.cache_shards import StateShards
from pal_plugin.utils.spelling import reject_unknown

#: A remainder shorter than this (in s) opens no window: it is less than one feature frame, and
#: many files of "5 s" or "10 s" are a few samples longer.
MIN_TAIL_S = 0.01
_KEYS = ("type", "features", "model", "checkpoint", "hidden_states", "cache")


class AudioFrontend:
    """Front ends of a set of encoders.

    Args:
        encoders: `{name: {"type": ..., "features": {...}}}`; the keys `model`, `checkpoint` and
            `hidden_states` of the encoder itself are allowed and ignored.

    Attributes:
        caches: cache settings by encoder, where caching is on.
        shards: cached states by encoder; empty until a run opens them (`look_in`).

    Raises:
        ValueError: if there are no encoders, an entry has no type, or a key, type, argument or
            cache setting is invalid.
    """

    def __init__(self, encoders: dict[str, dict[str, Any]]) -> None:
        if not encoders:
            raise ValueError("AudioFrontend needs at least one encoder, got none")
        self.features: dict[str, AudioFeatures] = {}
        self.caches: dict[str, CacheSettings] = {}
        self.shards: dict[str, StateShards] = {}
        for name, entry in encoders.items():
            reject_unknown(entry, _KEYS, f"encoder {name!r}")
            if "type" not in entry:
                raise ValueError(f"encoder {name!r} has no 'type': {dict(entry)}")
            self.features[name] = build_features(entry["type"], dict(entry.get("features") or {}))
            settings = CacheSettings.of(entry, name)
            if settings is not None:
                self.caches[name] = settings
        if len({settings.variants for settings in self.caches.values()}) > 1:
            given = {name: settings.variants for name, settings in self.caches.items()}
            raise ValueError(
                f"cache.variants must be equal, since encoders share the variants of a clip; got "
                f"{given}"
            )

    def look_in(self, shards: Mapping[str, StateShards]) -> None:
        """Enables lookups of cached states, by encoder."""
        self.shards = dict(shards)

    def of_kept(self) -> AudioFrontend:
        """A copy restricted to the encoders with cached states."""
        mine = copy.copy(self)
        mine.features = {name: self.features[name] for name in self.shards}
        return mine

    def __call__(self, source: Any) -> Features:
        """Features of one clip, or its cached states.

        Args:
            source: anything that `load_audio` reads.

        Returns:
            `{name: {"features": [W, ...], "frames": long [W]}}`, W windows that cover the clip (up
            to `max_s`; longer clips are truncated and logged) except for a remainder below
            `MIN_TAIL_S`. W may differ between encoders. For encoders with a cache, see
            `find_or_make`.

        Raises:
            AudioError: if the clip cannot be decoded.
        """
        if not self.shards:
            return self.make(source, self.features)
        key, source = identified(source)
        return self.find_or_make(key, lambda names: self.make(source, names))

    def find_or_make(self, key: str, make: Callable[[list[str]], Features]) -> Features:
        """Looks up cached states; calls `make(names)` for the encoders without.

        Args:
            key: the clip's key in the shards.

        Returns:
            By encoder: `{"states": [sum valid, D], "valid": long [W], "frames": long [W]}` of a
                cached
            clip; otherwise features, with the `key` to store them under if the encoder has a cache.
        """
        known = {name: shards.find(key) for name, shards in self.shards.items()}
        result = {name: clip.entry() for name, clip in known.items() if clip is not None}
        absent = [name for name in self.features if name not in result]
        for name, entry in (make(absent) if absent else {}).items():
            result[name] = {**entry, "key": key} if name in self.shards else entry
        return {name: result[name] for name in self.features}

    @torch.no_grad()
    def make(self, source: Any, names: Iterable[str]) -> Features:
        """Features of one clip for the given encoders; see `__call__`."""
        waveform, rate_hz = load_audio(source)
        self._report_cuts(source, len(waveform), rate_hz)
        resampled: dict[tuple[int, int], Tensor] = {}
        result = {}
        for name in names:
            features = self.features[name]
            length = _without_tail(features.used_samples(len(waveform), rate_hz), rate_hz, features)
            key = (length, features.sample_rate_hz)
            if key not in resampled:
                resampled[key] = resample(waveform[:length], rate_hz, features.sample_rate_hz)
            result[name] = features(resampled[key])
        return result

    def _report_cuts(self, source: Any, samples: int, rate_hz: int) -> None:
        """Logs one warning per exceeded length limit."""
        cut: dict[float, list[str]] = {}
        for name, features in self.features.items():
            if features.used_samples(samples, rate_hz) < samples:
                cut.setdefault(features.max_s, []).append(name)
        named = isinstance(source, str | Path)
        clip = str(source) if named else getattr(source, "name", "a clip")
        for max_s, names in cut.items():
            report_cut(clip, samples / rate_hz, max_s, names)

    def joined(self, batch: Batch) -> Features:
        """`batch["audio"]` as `collate` returns it, whichever accepted form it has.

        Accepted forms: the output of `collate`; a list of clips, each anything that `load_audio`
            reads
        or the features of one clip; or the features of a single clip.

        Raises:
            ValueError: if there are no clips, or a clip is not in a list.
        """
        audio = batch.get("audio")
        if is_one_clip(audio):
            raise ValueError("samples['audio'] is one clip; expected a list of clips: [clip]")
        if isinstance(audio, dict) and audio:
            if "windows" not in next(iter(audio.values())):
                return self.collate([audio])
            return {name: _counted_here(entry) for name, entry in audio.items()}
        clips = list(audio) if audio is not None else []
        if not clips:
            raise ValueError(
                "expected samples['audio'] (output of the audio processor, or a list of paths or "
                f"(array, rate) pairs); the sample has the keys {sorted(batch)}. To ask without "
                "audio, mask it: samples['audio_mask'] = torch.zeros(rows, dtype=torch.bool)"
            )
        for place, clip in enumerate(clips):
            if clip is None:
                raise ValueError(f"samples['audio'][{place}] is None; expected a clip")
        return self.collate([clip if _is_features(clip) else self(clip) for clip in clips])

    @staticmethod
    def collate(clips: list[Features]) -> Features:
        """Concatenates the clips of a batch along the windows.

        Returns:
            `{name: {"features": [sum W, ...], "frames": long [sum W], "windows": long [C]}}`;
            `windows[c]` consecutive rows belong to clip c. With a cache also `keys`, a list of C
            strings, empty for cached clips; `features` then has rows of the other clips only, and
            the cached ones have `states` [tokens, D] and `valid`, long, tokens per window.

        Raises:
            ValueError: if there are no clips, or clips have different encoders.
        """
        if not clips:
            raise ValueError("cannot collate an empty list of clips")
        for clip in clips:
            if clip.keys() != clips[0].keys():
                raise ValueError(
                    f"clips of one batch need the same encoders, got {list(clips[0])} "
                    f"and {list(clip)}"
                )
        return {name: _joined([clip[name] for clip in clips]) for name in clips[0]}


def _is_features(clip: Any) -> bool:
    """Whether a clip is front-end output (datasets' clips are mappings too)."""
    return isinstance(clip, dict) and not is_one_clip(clip)


def _counted_here(entry: dict[str, Any]) -> dict[str, Any]:
    """Moves the counts back to the CPU, in case the whole batch was moved to a device."""
    return {k: v.cpu() if k in COUNT_KEYS else v for k, v in entry.items()}


def _joined(clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Collates the entries of one encoder."""
    tensors = {
        part: torch.cat([clip[part] for clip in clips if part in clip])
        for part in ("features", "states", "valid", "frames")
        if any(part in clip for clip in clips)
    }
    windows = torch.tensor([len(clip["frames"]) for clip in clips])
    kept = any("states" in clip or "key" in clip for clip in clips)
    keys = {"keys": [clip.get("key", "") for clip in clips]} if kept else {}
    return {**tensors, "windows": windows, **keys}


def _without_tail(samples: int, rate_hz: int, features: AudioFeatures) -> int:
    """Number of samples to keep: drops a remainder below `MIN_TAIL_S` after whole windows."""
    overlap = features.overlap_s * rate_hz
    shift = features.window_s * rate_hz - overlap
    full, rest = divmod(samples - overlap, shift)
    if full < 1 or rest >= MIN_TAIL_S * rate_hz:
        return samples
    return int(full * shift + overlap + 1e-6)
