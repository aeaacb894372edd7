"""WebDataset shards as a stream of clips.

Training is endless and never ends an epoch: each pass shuffles shards and clips anew from the seed
and the pass's number, so a run repeats itself whatever the timing. Evaluation is one pass over
every clip, of known length. Shards are split between nodes and workers, so nobody repeats what
another one reads. What cannot be read (a clip, a shard that is cut or gone) is named and left out
in training and an error in evaluation.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from pal_plugin.audio.io import AudioError
from pal_plugin.corpora.reading import parse, read_shard
from pal_plugin.datasets.collate import SkippedClip, collate_clips
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.errors import ConfigError

#: See `ShardStream._patience`.
_PASSES = 20


class ShardStream(IterableDataset):
    """Clips of tar shards, each `<key>.flac` (or another audio file) with `<key>.json`.

    Args:
        shards: paths of the tars, or what else WebDataset opens (`pipe:` commands).
        clips: clips in all shards together, the stream's length; None: not known (training).
        audio_processor: bytes of a file to features.
        text_processor: applied to every question.
        mix: which questions are asked.
        train: endless and shuffled, or one pass in order.
        seed: of the shuffling and the choice of questions.
        shuffle_buffer: clips held back for shuffling within a worker.
        candidates: closed set of answers of classification questions.
        collate_audio: see `collate_clips`.
        counts: clips of each shard; one that holds another number is cut.
        allow_missing: in evaluation, too, name what cannot be used and leave it out.
        left_out: what was known to be missing beforehand, with the reasons.

    Yields:
        `{"audio", "items", "sample_id"}` (without items where no question of the mix is asked, in
        evaluation), or a `SkippedClip` in training and with `allow_missing`.

    Raises:
        AudioError: a clip that cannot be decoded, in evaluation; names shard and clip.
        ConfigError: in evaluation a shard that cannot be read to its end or a clip without audio or
            metadata; a pass without a single question, or of which nothing can be used.
    """

    def __init__(
        self,
        shards: Sequence[str | Path],
        clips: int | None,
        audio_processor: Callable[[bytes], Any],
        text_processor: Callable[[str], str],
        mix: QuestionMix,
        *,
        train: bool,
        seed: int = 0,
        shuffle_buffer: int = 200,
        candidates: Sequence[str] | None = None,
        collate_audio: Callable[[list], Any] | None = None,
        counts: Mapping[str, int] | None = None,
        allow_missing: bool = False,
        left_out: Sequence[str] = (),
    ) -> None:
        if not shards:
            raise ConfigError("a stream needs at least one shard, got none")
        self.shards = [str(shard) for shard in shards]
        self.clips, self.mix, self.train = clips, mix, train
        self.audio_processor, self.text_processor = audio_processor, text_processor
        self.seed, self.shuffle_buffer = seed, shuffle_buffer
        self.candidates = None if candidates is None else list(candidates)
        self.collate_audio = collate_audio
        self.counts = dict(counts or {})
        self.allow_missing, self.left_out = allow_missing, list(left_out)

    def __len__(self) -> int:
        """Clips of one pass.

        Raises:
            TypeError: it is not known.
        """
        if self.clips is None:
            raise TypeError("the number of clips in these shards is not known")
        return self.clips

    def collater(self, clips: Sequence[dict | SkippedClip]) -> dict[str, Any]:
        """`collate_clips` with this stream's way of joining audio."""
        return collate_clips(clips, self.collate_audio)

    def __iter__(self) -> Iterator[dict | SkippedClip]:
        number = useless = 0
        while True:
            read = useful = 0
            skipped = None
            for raw in self._pass(number):
                read += 1
                clip = self._clip(raw, number)
                if isinstance(clip, SkippedClip):
                    skipped = skipped or clip
                    yield clip
                elif clip is not None:
                    useful += 1
                    yield clip
            if not self.train or not read:  # more workers than shards leave some without any
                return
            useless = 0 if useful else useless + 1
            if useless >= (1 if skipped is None else self._patience()):
                raise ConfigError(self._nothing(read, skipped))
            number += 1

    @staticmethod
    def _patience() -> int:
        """Passes without a clip that can be used until it is an error.

        One of several workers may get all the bad shards of a pass; the next deals anew.
        """
        worker = get_worker_info()
        return 1 if worker is None or worker.num_workers == 1 else _PASSES

    def _nothing(self, read: int, skipped: SkippedClip | None) -> str:
        """Why a pass had nothing to hear."""
        if skipped is not None:
            return f"none of {read} clips can be used; {skipped.name}: {skipped.reason}"
        types = ", ".join(sorted(self.mix.question_types or ()))
        return (
            f"none of {read} clips holds a question of the tasks {', '.join(self.mix.weights)}"
            + (f" and types {types}" if types else "")
        )

    def _pass(self, number: int) -> Iterable[dict]:
        """Raw samples of one pass for this worker."""
        shards = list(self.shards)
        if not self.train and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise ConfigError(
                f"evaluation runs in one process, and WORLD_SIZE is {os.environ['WORLD_SIZE']}: "
                "each would count a part of the clips; start evaluate.py without torchrun"
            )
        if self.train:
            random.Random(f"{self.seed}-{number}").shuffle(shards)
        stages = [
            wds.SimpleShardList(shards),
            wds.split_by_node,
            wds.split_by_worker,
            self._samples,
        ]
        if self.train and self.shuffle_buffer > 1:
            worker = get_worker_info()
            rng = random.Random(f"{self.seed}-{number}-{worker.id if worker else 0}")
            size = self.shuffle_buffer
            stages.append(wds.shuffle(size, initial=size, rng=rng))
        return wds.DataPipeline(*stages)

    def _samples(self, sources: Iterable[dict]) -> Iterator[dict]:
        """Raw samples of shards one after the other; faults of a shard come as samples too."""
        for source in sources:
            url, clips = source["url"], 0
            faulty = False
            for raw in read_shard(url):
                faulty = faulty or "__error__" in raw
                clips += "__error__" not in raw
                yield raw
            expected = self.counts.get(url, clips)
            if clips != expected and not faulty:
                reason = f"it holds {clips} of {expected} clips"
                yield {"__key__": "the end", "__url__": url, "__error__": reason}

    def _clip(self, raw: dict, number: int) -> dict | SkippedClip | None:
        where = f"{raw['__key__']} in {raw['__url__']}"
        try:
            _, audio, facts = parse(raw)
        except ValueError as error:
            if not (self.train or self.allow_missing):
                raise ConfigError(f"{where}: {error}. Write or fetch it again") from error
            return SkippedClip(where, str(error))
        sample_id = str(facts.get("id", raw["__key__"]))
        if self.train:
            items = self.mix.draw(facts["items"], f"{self.seed}-{number}-{sample_id}")
        else:
            items = self.mix.all(facts["items"])
        if not items:  # in evaluation it counts as a clip that was met
            return None if self.train else {"audio": None, "items": [], "sample_id": sample_id}
        try:
            features = self.audio_processor(audio)
        except AudioError as error:
            if not (self.train or self.allow_missing):
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
