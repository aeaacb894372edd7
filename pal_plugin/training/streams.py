"""The order of the training data: the same whatever the number of processes, and with a position.

Training data are read in *lanes*: `lanes` parts of every dataset, each a sequence of batches that
depends on the seed only. Micro-batch k of the whole run is batch `k // lanes` of lane `k % lanes`.
Of P processes, process r trains on k = r, r + P, ...; its data workers take turns. Each batch
travels with the position behind it, from which the lane goes on after an interruption.

A lane that several readers need (fewer lanes than readers) is read by each of them, and each
decodes the pools it needs: right, but not fast. Within a lane, clips of like length share a batch:
they are sorted after they were made, within a pool of a few batches, so nothing has to be known
about the data beforehand. The first pool is one batch and each next one twice as large, so training
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


class Micro(NamedTuple):
    """A micro-batch: its number in the whole run, the lane's position behind it, and the batch."""

    number: int
    position: dict
    batch: Any


class Indexed:
    """A map-style dataset as lanes: endless shuffled passes, dealt batch by batch.

    Args:
        dataset: one with `counts_passes` is asked for `pass * len + index`, so that it can vary
            between passes; another for `index`.
        batch_size: clips per batch.
        seed: of the order of each pass.
    """

    def __init__(self, dataset: Dataset, batch_size: int, seed: int) -> None:
        if not len(dataset):
            raise ConfigError("a training dataset is empty")
        self.dataset, self.batch_size, self.seed = dataset, batch_size, seed
        self.aware = getattr(dataset, "counts_passes", False)
        self._order: tuple[int, list[int]] = (-1, [])

    def draws(self, lane: int, lanes: int, start: int | None = None) -> Iterator[tuple[int, int]]:
        """`(index, number of the clip that comes next in this lane)`."""
        size = len(self.dataset)
        number = lane * self.batch_size if start is None else start
        while True:
            passed, place = divmod(number, size)
            if self._order[0] != passed:
                self._order = (passed, _shuffled(f"{self.seed}-{passed}", size))
            index = self._order[1][place]
            number += 1
            if number % self.batch_size == 0:  # the next batches are other lanes'
                number += (lanes - 1) * self.batch_size
            yield passed * size + index, number

    def make(self, index: int) -> Any:
        """The clip of an index."""
        return self.dataset[index if self.aware else index % len(self.dataset)]


class Undivided:
    """A stream that knows nothing of lanes: every reader reads all of it and keeps its part.

    It must give the same clips each time it is iterated, and must not divide itself.
    """

    def __init__(self, stream: IterableDataset, batch_size: int) -> None:
        self.stream, self.batch_size = stream, batch_size

    def draws(self, lane: int, lanes: int, start: int | None = None) -> Iterator[tuple[Any, int]]:
        """`(clip, number of the clip that comes next)`; a stream that ends begins again."""
        number, first = 0, start or 0
        while True:
            before = number
            for clip in self.stream:
                number += 1
                if number > first and (number - 1) // self.batch_size % lanes == lane:
                    yield clip, number
            if number == before:
                raise ConfigError("a training stream is empty")

    def make(self, clip: Any) -> Any:
        """The clip itself."""
        return clip


class LaneReader(IterableDataset):
    """The micro-batches of one process, for `DataLoader(batch_size=None)`.

    Args:
        sources: by name of the dataset, what has `draws(lane, lanes, start)` and `make(ticket)`.
        collate: by name, clips to a batch.
        weights: share of each dataset, by which each batch's dataset is drawn.
        lanes: see above.
        batch_size: clips per batch.
        pool: batches' worth of clips that are sorted by length together; 1: none are.
        seed: of the choice of datasets and of the order of a pool's batches.
        rank, size: of the processes.
        first: number of the first micro-batch of all processes.
        positions: by lane, what an earlier reader's batches carried.
        length: length of a clip; only its order counts.
    """

    def __init__(
        self,
        sources: Mapping[str, Any],
        collate: Mapping[str, Callable[[list], Any]],
        weights: Mapping[str, float],
        *,
        lanes: int,
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
        self.lanes, self.batch_size, self.pool, self.seed = lanes, batch_size, pool, seed
        self.rank, self.size, self.first = rank, size, first
        self.positions = dict(positions or {})
        self.length = length or length_of

    def __iter__(self) -> Iterator[Micro]:
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        open_lanes: dict[int, Iterator] = {}
        for turn in count(mine, workers):
            number = self.first + self.rank + turn * self.size
            place, lane = divmod(number, self.lanes)
            if lane not in open_lanes:
                open_lanes[lane] = self._batches(lane)
            for name, make, position in open_lanes[lane]:
                if position["place"] == place + 1:
                    yield Micro(number, position, self.collate[name](make()))
                    break

    def _batches(self, lane: int) -> Iterator[tuple[str, Callable[[], list], dict]]:
        """`(dataset, function that makes the clips, position behind)` of a lane's batches."""
        known = self.positions.get(lane, {})
        place, saved = known.get("place", 0), dict(known.get("datasets", {}))
        taken = {name: known.get("taken", {}).get(name, 0) for name in self.sources}
        streams: dict[str, Iterator] = {}
        names = list(self.sources)
        while True:
            rng = random.Random(f"{self.seed}-{lane}-{place}")
            (name,) = rng.choices(names, [self.weights[n] for n in names])
            if name not in streams:
                streams[name] = self._pooled(name, lane, saved.get(name))
            make, saved[name] = next(streams[name])
            place += 1
            taken[name] += 1
            position = {"lane": lane, "place": place, "taken": dict(taken), "datasets": dict(saved)}
            yield name, make, position

    def _pooled(
        self, name: str, lane: int, saved: Sequence | None
    ) -> Iterator[tuple[Callable[[], list], list]]:
        """Batches of one dataset in one lane, with `[start of the pool, its number, batch]`."""
        source = self.sources[name]
        start, pool, first = saved or (None, 0, 0)
        draws = source.draws(lane, self.lanes, start)
        while True:
            batches = min(2 ** min(pool, 30), self.pool)
            drawn = list(islice(draws, batches * self.batch_size))
            behind = drawn[-1][1]
            rng = random.Random(f"{self.seed}-{lane}-{name}-{pool}")
            clips = _Pool(source.make, [t for t, _ in drawn], self.batch_size, self.length, rng)
            for number in range(first, batches):
                last = number + 1 == batches
                yield (
                    partial(clips.batch, number),
                    [behind, pool + 1, 0] if last else [start, pool, number + 1],
                )
            start, pool, first = behind, pool + 1, 0


class _Pool:
    """Clips that are made when the first batch of them is wanted."""

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
    """Batches of `clips`, of neighbours by length and in random order.

    The batch that is not full comes last; if all are equally long the clips stay as they are.
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
    """Frames of a clip, of all encoders together; 0 for what was skipped.

    Audio tokens are as many as frames allow, and a batch is trimmed to the clip with the most.
    """
    audio = clip.get("audio") if isinstance(clip, dict) else None
    entries = audio.values() if isinstance(audio, dict) else ()
    return sum(int(e["frames"].sum()) for e in entries if isinstance(e, dict) and "frames" in e)


def _shuffled(key: str, size: int) -> list[int]:
    order = list(range(size))
    random.Random(key).shuffle(order)
    return order
