"""Training batches of clips of like length, so that little of a batch is padding.

Design choice: clips are sorted after they were made, within a pool of a few batches, so nothing has
to be known about the data beforehand, and streams and folders are treated alike. The first pool is
one batch and each next one twice as large, so training does not wait for a full one. Where all
clips of a pool are equally long nothing changes its place.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from pal_plugin.datasets.collate import SkippedClip


class LengthBatches(IterableDataset):
    """Endless batches, as the dataset's collater makes them, for `DataLoader(batch_size=None)`.

    Args:
        dataset: a stream of clips, or with `sampler` a map-style dataset.
        batch_size: clips per batch.
        pool: batches' worth of clips that are sorted together; they wait in each worker's memory.
        seed: of the order of a pool's batches.
        collate: clips to a batch.
        sampler: endless indices of a map-style dataset; each worker takes every so-manieth batch.
        length: length of a clip; only its order counts.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        pool: int,
        seed: int,
        collate: Callable[[list], Any],
        sampler: Any = None,
        length: Callable[[Any], float] | None = None,
    ) -> None:
        self.dataset, self.batch_size, self.pool, self.seed = dataset, batch_size, pool, seed
        self.collate, self.sampler = collate, sampler
        self.length = length or length_of

    def __iter__(self) -> Iterator[Any]:
        clips = iter(self.dataset) if self.sampler is None else self._drawn()
        worker = get_worker_info()
        rng = random.Random(f"{self.seed}-{worker.id if worker else 0}")
        batches = 1
        while True:
            held = list(islice(clips, batches * self.batch_size))
            if not held:
                return
            for batch in arranged(held, self.batch_size, self.length, rng):
                yield self.collate(batch)
            batches = min(2 * batches, self.pool)

    def _drawn(self) -> Iterator[Any]:
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        indices = iter(self.sampler)
        for number in range(2**62):
            batch = list(islice(indices, self.batch_size))
            if number % workers == mine:
                for index in batch:
                    yield self.dataset[index]


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
    """Windows of a clip, of all encoders together; 0 for what was skipped.

    Windows and not seconds: audio tokens are padded to the clip with the most of them, and within a
    window nothing is saved.
    """
    audio = None if isinstance(clip, SkippedClip) else clip.get("audio")
    entries = audio.values() if isinstance(audio, dict) else ()
    return sum(len(e["frames"]) for e in entries if isinstance(e, dict) and "frames" in e)
