"""WebDataset shards as a stream of clips.

Training is endless and never ends an epoch: each pass shuffles shards and clips anew from the seed
and the pass's number, so a run repeats itself whatever the timing. It is read in lanes
(`training.streams`), each a part of the shards with its own position. Evaluation is one pass over
every clip, of known length, in blocks that no two readers share. What cannot be read (a clip, a
shard that is cut or gone) is named and left out in training and an error in evaluation.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import webdataset as wds
from torch.utils.data import IterableDataset, get_worker_info

from pal_plugin.corpora.shards.reading import parse, read_shard
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.source import ClipSource
from pal_plugin.utils.errors import ConfigError

#: Passes without a usable clip in one of several lanes until it is an error.
_PASSES = 20
#: Where a clip is, its id, the bytes of its file, and what is asked; or why there is none.
Ticket = tuple[str, str, bytes, list] | SkippedClip


class ShardStream(ClipSource, IterableDataset):
    """Clips of tar shards, each `<key>.flac` (or another audio file) with `<key>.json`.

    Args:
        shards: paths of the tars, or what else WebDataset opens (`pipe:` commands).
        clips: clips in all shards together, the stream's length; None: not known (training).
        audio_processor, text_processor: as of `ClipSource`; the audio is the bytes of a file.
        mix: which questions are asked.
        train: endless and shuffled, or one pass in order.
        shuffle_buffer: clips held back for shuffling within a worker.
        counts: clips of each shard; one that holds another number is cut.
        source: further arguments of `ClipSource`.

    Yields:
        `{"audio", "items", "sample_id"}` (without items where no question of the mix is asked, in
        evaluation), or a `SkippedClip` in training and with `allow_missing`.

    Raises:
        AudioError: a clip that cannot be decoded, in evaluation; names shard and clip.
        ConfigError: in evaluation a shard that cannot be read to its end or a clip without audio or
            metadata; a pass without a single question.
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
        **source: Any,
    ) -> None:
        super().__init__(audio_processor, text_processor, train=train, **source)
        if not shards:
            raise ConfigError("a stream needs at least one shard, got none")
        self.shards = [str(shard) for shard in shards]
        self.clips, self.mix, self.shuffle_buffer = clips, mix, shuffle_buffer
        self.counts = dict(counts or {})
        self.place, self.places = 0, 1
        self.chosen: frozenset[int] | None = None

    def __len__(self) -> int:
        """Clips of one pass.

        Raises:
            TypeError: it is not known.
        """
        if self.clips is None:
            raise TypeError("the number of clips in these shards is not known")
        return self.clips if self.chosen is None else len(self.chosen)

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
        """Of the clips of an evaluation, the block that one of several processes asks about."""
        mine = copy.copy(self)
        mine.place, mine.places = place, places
        return mine

    def only(self, places: Iterable[int]) -> ShardStream:
        """Of the clips of an evaluation those at these places, counted from 0 over all shards.

        Shards that cannot be read are told all the same.
        """
        some = copy.copy(self)
        some.chosen = frozenset(places)
        return some

    def draws(
        self, lane: int, lanes: int, start: Sequence[int] | None = None
    ) -> Iterator[tuple[Ticket, tuple[int, int]]]:
        """What training reads in one of `lanes` parts of the shards, without decoding it.

        Args:
            start: a position that was yielded: what came behind it comes next.

        Yields:
            `(ticket, position)`; `make` turns a ticket into a clip.

        Raises:
            ConfigError: a pass without a single question, or fewer clips than lanes.
        """
        number, skip = start or (0, 0)
        useless = 0
        while True:
            read = drawn = skip
            fault = None
            for raw in islice(self._pass(number, lane, lanes), skip, None):
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
                    f"lane {lane} of {lanes} is empty: {len(self.shards)} shards hold fewer clips "
                    "than that; lower run.lanes or run.num_workers"
                )
            useless = 0 if drawn else useless + 1
            # One of several lanes may get all the bad shards of a pass; the next deals anew.
            if useless >= (_PASSES if fault and lanes > 1 else 1):
                raise ConfigError(self._nothing(read, fault))
            number, skip = number + 1, 0

    def make(self, ticket: Ticket) -> dict | SkippedClip:
        """The clip of a ticket, decoded."""
        if isinstance(ticket, SkippedClip):
            return ticket
        where, sample_id, audio, items = ticket
        if not items:
            return {"audio": None, "items": [], "sample_id": sample_id}
        return self.clip(audio, where, sample_id, items)

    def _nothing(self, read: int, fault: SkippedClip | None = None) -> str:
        """Why a pass had nothing to ask."""
        if fault is not None:
            return f"none of {read} clips can be used; {fault.name}: {fault.reason}"
        types = ", ".join(sorted(self.mix.question_types or ()))
        return (
            f"none of {read} clips holds a question of the tasks {', '.join(self.mix.weights)}"
            + (f" and types {types}" if types else "")
        )

    def _pass(self, number: int, lane: int, lanes: int) -> Iterable[dict]:
        """Raw samples of a training pass: as many whole shards in each lane, the rest by clips."""
        shards = list(self.shards)
        random.Random(f"{self.seed}-{number}").shuffle(shards)
        dealt = len(shards) // lanes * lanes
        samples = self._samples(shards[:dealt][lane::lanes])
        if shards[dealt:]:
            samples = chain(samples, islice(self._samples(shards[dealt:]), lane, None, lanes))
        if self.shuffle_buffer <= 1:
            return samples
        rng = random.Random(f"{self.seed}-{number}-{lane}")
        size = self.shuffle_buffer
        return wds.shuffle(size, initial=size, rng=rng)(samples)

    def _block(self, worker: int, workers: int) -> Iterator[dict]:
        """Raw samples of an evaluation: of all clips in their order, this reader's share."""
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
                    # What lies behind the stated number is the last one's, to be found wanting.
                    mine = first <= number and (number < last or place + 1 == places)
                    chosen = self.chosen is None or number in self.chosen or "__error__" in raw
                    if mine and chosen:
                        yield raw
                    number += 1
            if known is not None:
                number = begin + known

    def _samples(self, shards: Iterable[str]) -> Iterator[dict]:
        """Raw samples of shards one after the other; faults of a shard come as samples too."""
        for url in shards:
            clips = 0
            faulty = False
            for raw in read_shard(url):
                faulty = faulty or "__error__" in raw
                clips += "__error__" not in raw
                yield raw
            expected = self.counts.get(url, clips)
            if clips != expected and not faulty:
                reason = f"it holds {clips} of {expected} clips"
                yield {"__key__": "the end", "__url__": url, "__error__": reason}

    def _ticket(self, raw: dict, number: int) -> Ticket | None:
        """What is asked about a raw sample; None for nothing."""
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
        if items or not self.train:  # in evaluation one without questions counts as met
            return where, sample_id, audio, items
        return None
