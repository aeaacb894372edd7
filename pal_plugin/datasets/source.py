"""Common base of clip datasets: decoding, text processing and collation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pal_plugin.audio.io import AudioError
from pal_plugin.audio.sources import named
from pal_plugin.datasets.collate import SkippedClip, collate_clips


class ClipSource:
    """Base class of clip datasets; subclasses provide the clips and their items.

    Args:
        audio_processor: maps a clip's path or bytes to features.
        text_processor: applied to every single question (conversations stay as they are).
        train: True skips clips that cannot be decoded, False raises `AudioError`.
        seed: seed for drawing questions.
        candidates: label set of classification questions.
        collate_audio: see `collate_clips`.
        allow_missing: skip unusable clips in evaluation, too.
        left_out: clips known to be unusable beforehand, with reasons.
    """

    def __init__(
        self,
        audio_processor: Callable[[Any], Any],
        text_processor: Callable[[str], str],
        *,
        train: bool = False,
        seed: int = 0,
        candidates: Sequence[str] | None = None,
        collate_audio: Callable[[list], Any] | None = None,
        allow_missing: bool = False,
        left_out: Sequence[str] = (),
    ) -> None:
        self.audio_processor, self.text_processor = audio_processor, text_processor
        self.train, self.seed = train, seed
        self.candidates = list(candidates) if candidates else None
        self.collate_audio = collate_audio
        self.allow_missing, self.left_out = allow_missing, list(left_out)

    def clip(
        self, audio: Any, where: str, sample_id: str, items: list[dict]
    ) -> dict[str, Any] | SkippedClip:
        """A decoded clip with its questions, or the clips of a conversation.

        Args:
            audio: input of the audio processor; a tuple: one for each clip of a conversation, whose
                features are a list. If one cannot be decoded, all are skipped.
            where: name of the clip in messages.

        Raises:
            AudioError: in evaluation, if it cannot be decoded; names the clip.
        """
        try:
            if isinstance(audio, tuple):
                features = [
                    self._features(one, f"clip {number} of {where}")
                    for number, one in enumerate(audio)
                ]
            else:
                features = self._features(audio, where)
        except AudioError as error:
            if not (self.train or self.allow_missing):
                text = str(error)
                raise AudioError(text if where in text else f"{where}: {text}") from error
            return SkippedClip(where, str(error))
        return {"audio": features, "items": self._prepared(items), "sample_id": sample_id}

    def collater(self, clips: Sequence[dict | SkippedClip]) -> dict[str, Any]:
        """`collate_clips` with this dataset's `collate_audio`."""
        return collate_clips(clips, self.collate_audio)

    def _features(self, audio: Any, where: str) -> Any:
        return self.audio_processor(named(audio, where) if isinstance(audio, bytes) else audio)

    def _prepared(self, items: list[dict]) -> list[dict]:
        return [self._one(item) for item in items]

    def _one(self, item: dict) -> dict:
        if "messages" not in item:
            item = {**item, "question": self.text_processor(item["question"])}
        own = "messages" in item and "candidates" in item
        if self.candidates and item["task"] == "classification" and not own:
            item = {**item, "candidates": self.candidates}
        return item


def parts_of(dataset: Any) -> Iterator[Any]:
    """The leaf datasets of a mixture or concatenation, else the dataset itself."""
    inner = getattr(dataset, "datasets", None)
    if inner is None:
        yield dataset
        return
    for part in inner.values() if isinstance(inner, Mapping) else inner:
        yield from parts_of(part)
