"""One clip in, the features of every encoder out; or the encoder's states, where they are kept.

Design choice: a clip is decoded once and resampled once per sample rate; encoders with the same
rate share the resampled waveform. A clip whose states are all known is not decoded.
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

#: A rest shorter than this opens no window of its own: it is less than one feature frame, and many
#: files of "5 s" or "10 s" are a few samples longer.
MIN_TAIL_S = 0.01
_KEYS = ("type", "features", "model", "checkpoint", "hidden_states", "cache")


class AudioFrontend:
    """Front end of a list of encoders.

    Args:
        encoders: `{name: {"type": ..., "features": {...}}}`; the entries `model`, `checkpoint` and
            `hidden_states`, which belong to the encoder itself, may be present and are not read.

    Attributes:
        caches: settings of the encoders whose states are to be kept, by name.
        shards: where their states are looked up; empty until a run opens them (`look_in`).

    Raises:
        ValueError: no encoders, an entry without type, unknown keys, types, arguments of features
            or settings of a cache.
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
                f"all encoders hear the same variants of a clip, but cache.variants are {given}; "
                "give the same number"
            )

    def look_in(self, shards: Mapping[str, StateShards]) -> None:
        """Look clips up there from now on, by encoder."""
        self.shards = dict(shards)

    def of_kept(self) -> AudioFrontend:
        """That of the encoders whose states are looked up, without the others."""
        mine = copy.copy(self)
        mine.features = {name: self.features[name] for name in self.shards}
        return mine

    def __call__(self, source: Any) -> Features:
        """Features of one clip, or its states.

        Args:
            source: whatever `load_audio` reads.

        Returns:
            `{name: {"features": [W, ...], "frames": Long[W]}}`, W windows that hold all of the
            clip (up to `max_s` of the features, which is logged where it cuts) but a rest below
            `MIN_TAIL_S`. W may differ between encoders whose windows differ. What `find_or_make`
            says of encoders whose states are kept.

        Raises:
            AudioError: the clip cannot be used.
        """
        if not self.shards:
            return self.make(source, self.features)
        key, source = identified(source)
        return self.find_or_make(key, lambda names: self.make(source, names))

    def find_or_make(self, key: str, make: Callable[[list[str]], Features]) -> Features:
        """The states that are known, and for the other encoders what `make(names)` gives.

        Args:
            key: of the clip in the shards.

        Returns:
            By encoder `{"states": [sum valid, D], "valid": Long[W], "frames": Long[W]}` of a known
            clip; otherwise features, with the `key` to store them by where they are to be kept.
        """
        known = {name: shards.find(key) for name, shards in self.shards.items()}
        result = {name: clip.entry() for name, clip in known.items() if clip is not None}
        absent = [name for name in self.features if name not in result]
        for name, entry in (make(absent) if absent else {}).items():
            result[name] = {**entry, "key": key} if name in self.shards else entry
        return {name: result[name] for name in self.features}

    @torch.no_grad()
    def make(self, source: Any, names: Iterable[str]) -> Features:
        """Features of one clip for these encoders; as of a call."""
        waveform, rate_hz = load_audio(source)
        self._report_cuts(source, len(waveform), rate_hz)
        resampled: dict[tuple[int, int], Tensor] = {}
        result = {}
        for name in names:
            features = self.features[name]
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
        named = isinstance(source, str | Path)
        clip = str(source) if named else getattr(source, "name", "a clip")
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
            if "windows" not in next(iter(audio.values())):
                return self.collate([audio])
            return {name: _counted_here(entry) for name, entry in audio.items()}
        clips = list(audio) if audio is not None else []
        if not clips:
            raise ValueError(
                "expected samples['audio'] (what the audio processor makes, or a list of paths or "
                f"(array, rate) pairs); the sample has the keys {sorted(batch)}. To ask without "
                "audio, mask it: samples['audio_mask'] = torch.zeros(rows, dtype=torch.bool)"
            )
        for place, clip in enumerate(clips):
            if clip is None:
                raise ValueError(f"samples['audio'][{place}] is None; expected a clip")
        return self.collate([clip if _is_features(clip) else self(clip) for clip in clips])

    @staticmethod
    def collate(clips: list[Features]) -> Features:
        """Join the clips of a batch along the windows.

        Returns:
            `{name: {"features": [sum W, ...], "frames": Long[sum W], "windows": Long[C]}}`;
            `windows[c]` consecutive rows belong to clip c. Where states are kept also `keys`, a
            list of C texts, empty for a known clip; `features` then has the rows of the others,
            and the known ones have `states` [tokens, D] and `valid`, Long, tokens of each window.

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
        return {name: _joined([clip[name] for clip in clips]) for name in clips[0]}


def _is_features(clip: Any) -> bool:
    """Whether a clip has been through the front end; what datasets give is a mapping too."""
    return isinstance(clip, dict) and not is_one_clip(clip)


def _counted_here(entry: dict[str, Any]) -> dict[str, Any]:
    """With its counts on the CPU, also where somebody moved the whole batch."""
    return {k: v.cpu() if k in COUNT_KEYS else v for k, v in entry.items()}


def _joined(clips: list[dict[str, Any]]) -> dict[str, Any]:
    """The entries of one encoder."""
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
    """Samples to keep: all, or whole windows where hardly anything follows them."""
    overlap = features.overlap_s * rate_hz
    shift = features.window_s * rate_hz - overlap
    full, rest = divmod(samples - overlap, shift)
    if full < 1 or rest >= MIN_TAIL_S * rate_hz:
        return samples
    return int(full * shift + overlap + 1e-6)
