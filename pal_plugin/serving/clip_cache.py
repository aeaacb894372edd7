"""Clips that were heard before, as the LLM takes them, under a memory limit."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from pal_plugin.integration.routing import RoutedAudio
from pal_plugin.models.audio_kv import AudioKV
from pal_plugin.models.audio_llm import AudioLLM


class ClipCache:
    """The clips used last.

    Args:
        model: encodes them; a clip that other weights encoded is another one.
        max_bytes: memory limit; a clip that is larger is not kept.

    Attributes:
        nbytes: memory in use, in bytes.
        hits, misses: clips that were there, and that had to be encoded.
    """

    def __init__(self, model: AudioLLM, max_bytes: int) -> None:
        self.model, self.max_bytes = model, max_bytes
        self.nbytes = self.hits = self.misses = 0
        self._clips: OrderedDict[tuple[str, str], AudioKV] = OrderedDict()

    def known(self, key: str) -> RoutedAudio | None:
        """A clip if it is here; counts for nothing."""
        clip = self._clips.get((key, self.model.fingerprint()))
        return None if clip is None else clip.routed

    def get(self, key: str, source: Any) -> RoutedAudio:
        """A clip, encoded now if it is not here.

        Args:
            key: hash of its samples and rate (`audio.identity`).
            source: the clip, as `model.encode` takes it.

        Raises:
            ValueError: it cannot be used.
        """
        name = (key, self.model.fingerprint())
        if name in self._clips:
            self.hits += 1
            self._clips.move_to_end(name)
            return self._clips[name].routed
        self.misses += 1
        clip = self.model.encode(source)
        if clip.nbytes <= self.max_bytes:
            self._clips[name] = clip
            self.nbytes += clip.nbytes
        while self.nbytes > self.max_bytes:
            _, oldest = self._clips.popitem(last=False)
            self.nbytes -= oldest.nbytes
        return clip.routed
