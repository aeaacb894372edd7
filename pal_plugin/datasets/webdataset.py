"""WebDataset shards as a stream of clips.

Training is endless and never ends an epoch: each pass shuffles shards and clips anew from the seed
and the pass's number, so a run repeats itself whatever the timing. Evaluation is one pass over
every clip, of known length. Shards are split between nodes and workers, so nobody repeats what
another one reads.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from pal_plugin.audio.io import AudioError
from pal_plugin.datasets.collate import SkippedClip, collate_clips
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.errors import ConfigError

AUDIO_EXTENSIONS = ("flac", "wav", "ogg", "mp3", "opus")


class ShardStream(IterableDataset):
    """Clips of tar shards, each `<key>.flac` (or another audio file) with `<key>.json`.

    Args:
        shards: paths of the tars.
        clips: clips in all shards together; the stream's length.
        audio_processor: bytes of a file to features.
        text_processor: applied to every question.
        mix: which questions are asked.
        train: endless and shuffled, or one pass in order.
        seed: of the shuffling and the choice of questions.
        shuffle_buffer: clips held back for shuffling within a worker.
        candidates: closed set of answers of classification questions.
        collate_audio: see `collate_clips`.

    Yields:
        `{"audio", "items", "sample_id"}`, or in training a `SkippedClip`.

    Raises:
        AudioError: a clip that cannot be decoded, in evaluation; names shard and clip.
        ConfigError: a clip without audio or metadata, or a pass without a single question.
    """

    def __init__(
        self,
        shards: Sequence[str | Path],
        clips: int,
        audio_processor: Callable[[bytes], Any],
        text_processor: Callable[[str], str],
        mix: QuestionMix,
        *,
        train: bool,
        seed: int = 0,
        shuffle_buffer: int = 200,
        candidates: Sequence[str] | None = None,
        collate_audio: Callable[[list], Any] | None = None,
    ) -> None:
        if not shards:
            raise ConfigError("a stream needs at least one shard, got none")
        self.shards = [str(shard) for shard in shards]
        self.clips, self.mix, self.train = clips, mix, train
        self.audio_processor, self.text_processor = audio_processor, text_processor
        self.seed, self.shuffle_buffer = seed, shuffle_buffer
        self.candidates = None if candidates is None else list(candidates)
        self.collate_audio = collate_audio

    def __len__(self) -> int:
        """Clips of one pass."""
        return self.clips

    def collater(self, clips: Sequence[dict | SkippedClip]) -> dict[str, Any]:
        """`collate_clips` with this stream's way of joining audio."""
        return collate_clips(clips, self.collate_audio)

    def __iter__(self) -> Iterator[dict | SkippedClip]:
        number = 0
        while True:
            read = useful = 0
            for raw in self._pass(number):
                read += 1
                clip = self._clip(raw, number)
                if clip is not None:
                    useful += 1
                    yield clip
            if not self.train or not read:  # more workers than shards leave some without any
                return
            if not useful:
                raise ConfigError(
                    f"none of {read} clips holds a question of the tasks "
                    f"{', '.join(self.mix.weights)}"
                    + (
                        f" and types {', '.join(sorted(self.mix.question_types))}"
                        if self.mix.question_types
                        else ""
                    )
                )
            number += 1

    def _pass(self, number: int) -> Iterable[dict]:
        """Raw samples of one pass for this worker."""
        shards = list(self.shards)
        if self.train:
            random.Random(f"{self.seed}-{number}").shuffle(shards)
        stages = [
            wds.SimpleShardList(shards),
            wds.split_by_node,
            wds.split_by_worker,
            wds.tarfile_to_samples(),
        ]
        if self.train and self.shuffle_buffer > 1:
            worker = get_worker_info()
            rng = random.Random(f"{self.seed}-{number}-{worker.id if worker else 0}")
            size = self.shuffle_buffer
            stages.append(wds.shuffle(size, initial=size, rng=rng))
        return wds.DataPipeline(*stages)

    def _clip(self, raw: dict, number: int) -> dict | SkippedClip | None:
        where = f"{raw['__key__']} in {raw['__url__']}"
        audio = next((raw[ext] for ext in AUDIO_EXTENSIONS if ext in raw), None)
        if audio is None or "json" not in raw:
            have = ", ".join(k for k in raw if not k.startswith("_"))
            raise ConfigError(f"{where}: expected audio ({AUDIO_EXTENSIONS}) and json, got {have}")
        facts = json.loads(raw["json"])
        sample_id = str(facts.get("id", raw["__key__"]))
        if self.train:
            items = self.mix.draw(facts["items"], f"{self.seed}-{number}-{sample_id}")
        else:
            items = self.mix.all(facts["items"])
        if not items:
            return None
        try:
            features = self.audio_processor(audio)
        except AudioError as error:
            if not self.train:
                raise AudioError(f"{where}: {error}") from error
            logging.debug("skipped %s: %s", where, error)
            return SkippedClip(where, str(error))
        return {"audio": features, "items": self._prepared(items), "sample_id": sample_id}

    def _prepared(self, items: list[dict]) -> list[dict]:
        closed = {"candidates": self.candidates} if self.candidates else {}
        return [
            {
                **item,
                "question": self.text_processor(item["question"]),
                **(closed if item["task"] == "classification" else {}),
            }
            for item in items
        ]
