"""The order of the training data: independent of the number of processes, and resumable.

Training data are read as `streams` shard streams: parts of every dataset, each a sequence of
batches that depends on the seed only. Micro-batch k of the run is batch `k // streams` of stream
`k % streams`. Of P processes, rank r trains on k = r, r + P, ...; its DataLoader workers take
turns. Each batch carries the position after it, from which its stream resumes.

A stream that several readers need (fewer streams than readers) is read by each of them, and each
decodes the pools it needs: correct, but slow. Within a stream, clips of similar length share a
batch: they are sorted after decoding, within a pool of a few batches, so that no length has to be
known beforehand. The first pool is one batch and each next one twice as large, so that training
does not wait for a full one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from typing import Any, NamedTuple

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from pal_plugin.utils.errors import ConfigError


class MicroBatch(NamedTuple):
    """A micro-batch.

    Attributes:
        number: in the whole run, from 0.
        position: of its shard stream after this batch, to resume from.
        batch: the collated clips.
    """

    number: int
    position: dict
    batch: Any


class Indexed:
    """A map-style dataset as streams: infinite shuffled passes, dealt batch by batch.

    Args:
        dataset: with `counts_passes` it is indexed by `pass * len + index`, so that it can vary
            between passes; otherwise by `index`.
        batch_size: clips per batch.
        seed: of the order of each pass.

    Raises:
        ConfigError: the dataset is empty.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int) -> None:
        if not len(dataset):
            raise ConfigError("a training dataset is empty; expected at least one clip")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.aware = getattr(dataset, "counts_passes", False)
        self._order: tuple[int, list[int]] = (-1, [])

    def draws(
        self, stream: int, streams: int, start: int | None = None
    ) -> Iterator[tuple[int, int]]:
        """Yield `(index, number of the next clip in this stream)` from clip `start` on."""
        size = len(self.dataset)
        number = stream * self.batch_size if start is None else start
        while True:
            passed, place = divmod(number, size)
            if self._order[0] != passed:
                self._order = (passed, _shuffled(f"{self.seed}-{passed}", size))
            index = self._order[1][place]
            number += 1
            if number % self.batch_size == 0:  # the next batches belong to other streams
                number += (streams - 1) * self.batch_size
            yield passed * size + index, number

    def make(self, index: int) -> Any:
        """The clip of an index."""
        return self.dataset[index if self.aware else index % len(self.dataset)]


class Undivided:
    """An iterable dataset without shards: every reader iterates all of it and keeps its share.

    It must yield the same clips on each iteration, and must not split them over workers itself.
    """

    def __init__(self, stream: IterableDataset, batch_size: int) -> None:
        self.stream, self.batch_size = stream, batch_size

    def draws(
        self, stream: int, streams: int, start: int | None = None
    ) -> Iterator[tuple[Any, int]]:
        """Yield `(clip, number of the next clip)` from clip `start` on, in infinite passes.

        Raises:
            ConfigError: the dataset is empty.
        """
        number, first = 0, start or 0
        while True:
            before = number
            for clip in self.stream:
                number += 1
                if number > first and (number - 1) // self.batch_size % streams == stream:
                    yield clip, number
            if number == before:
                raise ConfigError("a training dataset is empty; expected at least one clip")

    def make(self, clip: Any) -> Any:
        """The clip itself."""
        return clip


class StreamReader(IterableDataset):
    """The micro-batches of one process, for `DataLoader(batch_size=None)`.

    Args:
        sources: by dataset name, objects with `draws(stream, streams, start)` and `make(ticket)`.
        collate: by dataset name, from clips to a batch.
        weights: mixing weights; each batch's dataset is drawn by them.
        streams: number of shard streams, see above.
        batch_size: clips per batch.
        pool: batches whose clips are sorted by length together; 1: no sorting.
        seed: of the choice of datasets and of the order of a pool's batches.
        rank, size: rank and world size.
        first: number of the first micro-batch, counted over all ranks.
        positions: by stream, the position to resume from.
        length: length of a clip in any unit; only its order counts.
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        collate: Mapping[str, Callable[[list], Any]],
        weights: Mapping[str, float],
        *,
        streams: int,
        batch_size: int,
        pool: int = 1,
        seed: int = 0,
        rank: int = 0,
        size: int = 1,
        first: int = 0,
        positions: Mapping[int, dict] | None = None,
        length: Callable[[Any], float] | None = None,
    ) -> None:
        self.sources, self.collate, self.weights = dict(sources), dict(collate), dict(weights)
        self.streams, self.batch_size, self.pool, self.seed = streams, batch_size, pool, seed
        self.rank, self.size, self.first = rank, size, first
        self.positions = dict(positions or {})
        self.length = length or length_of

    def __iter__(self) -> Iterator[MicroBatch]:
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        open_streams: dict[int, Iterator] = {}
        for turn in count(mine, workers):
            number = self.first + self.rank + turn * self.size
            place, stream = divmod(number, self.streams)
            if stream not in open_streams:
                open_streams[stream] = self._batches(stream)
            for name, make, position in open_streams[stream]:
                if position["place"] == place + 1:
                    yield MicroBatch(number, position, self.collate[name](make()))
                    break

    def _batches(self, stream: int) -> Iterator[tuple[str, Callable[[], list], dict]]:
        """`(dataset, function that makes the clips, position after)` of a stream's batches."""
        known = self.positions.get(stream, {})
        place, saved = known.get("place", 0), dict(known.get("datasets", {}))
        taken = {name: known.get("taken", {}).get(name, 0) for name in self.sources}
        pooled: dict[str, Iterator] = {}
        names = list(self.sources)
        while True:
            rng = random.Random(f"{self.seed}-{stream}-{place}")
            (name,) = rng.choices(names, [self.weights[n] for n in names])
            if name not in pooled:
                pooled[name] = self._pooled(name, stream, saved.get(name))
            make, saved[name] = next(pooled[name])
            place += 1
            taken[name] += 1
            position = {
                "stream": stream,
                "place": place,
                "taken": dict(taken),
                "datasets": dict(saved),
            }
            yield name, make, position

    def _pooled(
        self, name: str, stream: int, saved: Sequence | None
    ) -> Iterator[tuple[Callable[[], list], list]]:
        """Batches of one dataset in one stream, with `[start of the pool, its number, batch]`."""
        source = self.sources[name]
        start, pool, first = saved or (None, 0, 0)
        draws = source.draws(stream, self.streams, start)
        while True:
            batches = min(2 ** min(pool, 30), self.pool)
            drawn = list(islice(draws, batches * self.batch_size))
            behind = drawn[-1][1]
            rng = random.Random(f"{self.seed}-{stream}-{name}-{pool}")
            clips = _Pool(source.make, [t for t, _ in drawn], self.batch_size, self.length, rng)
            for number in range(first, batches):
                last = number + 1 == batches
                yield (
                    partial(clips.batch, number),
                    [behind, pool + 1, 0] if last else [start, pool, number + 1],
                )
            start, pool, first = behind, pool + 1, 0


class _Pool:
    """Clips that are decoded when their first batch is requested."""

    def __init__(self, make: Callable, tickets: list, size: int, length: Callable, rng) -> None:
        self.make, self.tickets, self.size = make, tickets, size
        self.length, self.rng, self.batches = length, rng, None

    def batch(self, number: int) -> list:
        if self.batches is None:
            clips = [self.make(ticket) for ticket in self.tickets]
            self.batches = arranged(clips, self.size, self.length, self.rng)
            self.tickets = []
        return self.batches[number]


def arranged(
    clips: Sequence[Any], batch_size: int, length: Callable[[Any], float], rng: random.Random
) -> list[list[Any]]:
    """Batches of clips of similar length, in random order.

    An incomplete batch comes last; clips of equal length keep their order.
    """
    lengths = [length(clip) for clip in clips]
    order = sorted(range(len(clips)), key=lambda i: lengths[i])
    batches = [
        [clips[i] for i in order[start : start + batch_size]]
        for start in range(0, len(clips), batch_size)
    ]
    if order != list(range(len(clips))):
        full = len(clips) // batch_size
        head = batches[:full]
        rng.shuffle(head)
        batches[:full] = head
    return batches


def length_of(clip: Any) -> float:
    """Feature frames of a sample, summed over encoders and clips; 0 for a skipped one.

    The number of audio tokens grows with it, and a batch is padded to its longest clip.
    """
    audio = clip.get("audio") if isinstance(clip, dict) else None
    clips = audio if isinstance(audio, list) else [audio]
    entries = [entry for one in clips if isinstance(one, dict) for entry in one.values()]
    return sum(int(e["frames"].sum()) for e in entries if isinstance(e, dict) and "frames" in e)


def _shuffled(key: str, size: int) -> list[int]:
    order = list(range(size))
    random.Random(key).shuffle(order)
    return order
