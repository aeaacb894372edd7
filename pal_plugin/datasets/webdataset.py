"""WebDataset shards as a stream of clips.

Training is endless, without epoch boundaries: each pass reshuffles shards and clips from the seed
and the pass number, so runs are reproducible whatever the timing. It is read as several shard
streams (`training.streams`), each over a part of the shards with its own position. Evaluation is
one pass over all clips, of known length, in blocks that do not overlap between readers. Unreadable
clips and truncated or missing shards are skipped and reported in training, and an error in
evaluation.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from pal_plugin.corpora.shards.reading import parse, parts, read_shard
from pal_plugin.datasets.collate import SkippedClip, clips_of
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.source import ClipSource
from pal_plugin.utils.errors import ConfigError

#: Consecutive passes of one of several streams without a usable clip before it is an error.
_PASSES = 20
#: Samples that are read to estimate how many clips a conversation has.
_PEEK = 64
#: `(location, id, audio file bytes, items)` of an undecoded clip, or with the bytes of each clip of
#: a conversation; or why there is none.
Ticket = tuple[str, str, bytes | tuple[bytes, ...], list] | SkippedClip


class ShardStream(ClipSource, IterableDataset):
    """Clips of tar shards, each `<key>.flac` (or another audio format) with `<key>.json`, or
    conversations with `<key>.0.flac`, `<key>.1.flac`, ...

    Args:
        shards: paths of tar files, or other URLs that WebDataset opens (`pipe:` commands).
        clips: total number of clips, the stream's length; None: unknown (training only).
        audio_processor, text_processor: see `ClipSource`; audio is passed as file bytes.
        mix: selects the questions.
        train: endless and shuffled, or one ordered pass.
        shuffle_buffer: size of the shuffle buffer of each stream, in clips.
        counts: clips by shard; a shard with a different number is reported as truncated.
        audio_total: number of clips of audio, several for a conversation; None: unknown.
        source: further arguments of `ClipSource`.

    Yields:
        `{"audio", "items", "sample_id"}` (in evaluation with empty items if the mix selects none),
        or a `SkippedClip` in training and with `allow_missing`.

    Raises:
        AudioError: in evaluation, if a clip cannot be decoded; names shard and clip.
        ConfigError: in evaluation, if a shard is truncated or a clip lacks audio or metadata; or
            if a pass has no question at all.
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
        shuffle_buffer: int = 200,
        counts: Mapping[str, int] | None = None,
        audio_total: int | None = None,
        **source: Any,
    ) -> None:
        super().__init__(audio_processor, text_processor, train=train, **source)
        if not shards:
            raise ConfigError("expected at least one shard, got none")
        self.shards = [str(shard) for shard in shards]
        self.clips, self.mix, self.shuffle_buffer = clips, mix, shuffle_buffer
        self.counts, self.audio_total = dict(counts or {}), audio_total
        self.place, self.places = 0, 1
        self.chosen: frozenset[int] | None = None

    def __len__(self) -> int:
        """Clips in one pass.

        Raises:
            TypeError: if it is not known.
        """
        if self.clips is None:
            raise TypeError("the number of clips in these shards is unknown")
        return self.clips if self.chosen is None else len(self.chosen)

    def audio_clips(self) -> int | None:
        """Clips of audio in one pass, several for a conversation; where no index counts them, an
        estimate by the first samples. None if the number of samples is unknown."""
        samples = clips_of(self)
        if not samples:
            return samples
        if self.audio_total is not None:
            return math.ceil(self.audio_total * samples / self.clips)
        found = []
        for raw in islice(self._samples(self.shards), _PEEK):
            with contextlib.suppress(ValueError):  # reported where it is read to be used
                audio, _ = parts(raw)
                found.append(len(audio) if isinstance(audio, tuple) else 1)
        return math.ceil(samples * sum(found) / len(found)) if found else samples

    def __iter__(self) -> Iterator[dict | SkippedClip]:
        worker = get_worker_info()
        place, places = (worker.id, worker.num_workers) if worker else (0, 1)
        if self.train:
            for ticket, _ in self.draws(place, places):
                yield self.make(ticket)
            return
        read = useful = 0
        for raw in self._block(place, places):
            ticket = self._ticket(raw, 0)
            read += 1
            useful += isinstance(ticket, SkippedClip) or bool(ticket[-1])
            yield self.make(ticket)
        if read and not useful and self.places * places == 1:
            raise ConfigError(self._nothing(read))

    def part(self, place: int, places: int) -> ShardStream:
        """The stream restricted to the evaluation block of process `place` out of `places`."""
        mine = copy.copy(self)
        mine.place, mine.places = place, places
        return mine

    def only(self, places: Iterable[int]) -> ShardStream:
        """The evaluation stream restricted to clips at these indices, counted over all shards.

        Unreadable shards are reported all the same.
        """
        some = copy.copy(self)
        some.chosen = frozenset(places)
        return some

    def draws(
        self, stream: int, streams: int, start: Sequence[int] | None = None
    ) -> Iterator[tuple[Ticket, tuple[int, int]]]:
        """Yields the training clips of shard stream `stream` out of `streams`, undecoded.

        Args:
            start: a position yielded earlier; iteration resumes after it.

        Yields:
            `(ticket, position)`; `make` decodes a ticket into a clip.

        Raises:
            ConfigError: if a pass has no question at all, or fewer clips than streams.
        """
        number, skip = start or (0, 0)
        useless = 0
        while True:
            read = drawn = skip
            fault = None
            for raw in islice(self._pass(number, stream, streams), skip, None):
                read += 1
                ticket = self._ticket(raw, number)
                if isinstance(ticket, SkippedClip):
                    fault = fault or ticket
                elif ticket is not None:
                    drawn += 1
                if ticket is not None:
                    yield ticket, (number, read)
            if not read:
                raise ConfigError(
                    f"shard stream {stream} of {streams} is empty: {len(self.shards)} shards have "
                    f"fewer than {streams} clips; lower run.shard_streams or run.num_workers"
                )
            useless = 0 if drawn else useless + 1
            # One stream may get all the bad shards of a pass; the next pass redistributes them.
            if useless >= (_PASSES if fault and streams > 1 else 1):
                raise ConfigError(self._nothing(read, fault))
            number, skip = number + 1, 0

    def make(self, ticket: Ticket) -> dict | SkippedClip:
        """Decodes a ticket into a clip."""
        if isinstance(ticket, SkippedClip):
            return ticket
        where, sample_id, audio, items = ticket
        if not items:
            return {"audio": None, "items": [], "sample_id": sample_id}
        return self.clip(audio, where, sample_id, items)

    def _nothing(self, read: int, fault: SkippedClip | None = None) -> str:
        """Why a pass had no questions."""
        if fault is not None:
            return f"none of {read} clips is usable; {fault.name}: {fault.reason}"
        types = ", ".join(sorted(self.mix.question_types or ()))
        return f"none of {read} clips has an item of the tasks {', '.join(self.mix.weights)}" + (
            f" and types {types}" if types else ""
        )

    def _pass(self, number: int, stream: int, streams: int) -> Iterable[dict]:
        """Raw samples of a training pass: equally many shards per stream, the rest by clip."""
        shards = list(self.shards)
        random.Random(f"{self.seed}-{number}").shuffle(shards)
        dealt = len(shards) // streams * streams
        samples = self._samples(shards[:dealt][stream::streams])
        if shards[dealt:]:
            samples = chain(samples, islice(self._samples(shards[dealt:]), stream, None, streams))
        if self.shuffle_buffer <= 1:
            return samples
        rng = random.Random(f"{self.seed}-{number}-{stream}")
        size = self.shuffle_buffer
        return wds.shuffle(size, initial=size, rng=rng)(samples)

    def _block(self, worker: int, workers: int) -> Iterator[dict]:
        """Raw samples of an evaluation pass: this reader's block, in order."""
        place, places = self.place * workers + worker, self.places * workers
        if places == 1 and self.chosen is None:
            yield from self._samples(self.shards)
            return
        first, last = (round(self.clips * p / places) for p in (place, place + 1))
        number = 0
        for shard in self.shards:
            known, begin = self.counts.get(shard), number
            if known is None or (begin < last and begin + known > first):
                for raw in self._samples([shard]):
                    # Clips beyond the declared count go to the last reader, which reports them.
                    mine = first <= number and (number < last or place + 1 == places)
                    chosen = self.chosen is None or number in self.chosen or "__error__" in raw
                    if mine and chosen:
                        yield raw
                    number += 1
            if known is not None:
                number = begin + known

    def _samples(self, shards: Iterable[str]) -> Iterator[dict]:
        """Raw samples of consecutive shards; faults of a shard are yielded as samples too."""
        for url in shards:
            clips = 0
            faulty = False
            for raw in read_shard(url):
                faulty = faulty or "__error__" in raw
                clips += "__error__" not in raw
                yield raw
            expected = self.counts.get(url, clips)
            if clips != expected and not faulty:
                reason = f"expected {expected} clips, read {clips}"
                yield {"__key__": "the end", "__url__": url, "__error__": reason}

    def _ticket(self, raw: dict, number: int) -> Ticket | None:
        """The ticket of a raw sample; None if no question is drawn."""
        where = f"{raw['__key__']} in {raw['__url__']}"
        try:
            audio, facts = parse(raw)
        except ValueError as error:
            if not (self.train or self.allow_missing):
                raise ConfigError(f"{where}: {error}. Recreate or download the shard") from error
            return SkippedClip(where, str(error))
        sample_id = str(facts.get("id", raw["__key__"]))
        if self.train:
            items = self.mix.draw(facts["items"], f"{self.seed}-{number}-{sample_id}")
        else:
            items = self.mix.all(facts["items"])
        if items or not self.train:  # evaluation counts clips without questions
            return where, sample_id, audio, items
        return None
