"""The training loader, for map-style and streaming datasets alike.

It never ends, so an epoch is a number of steps and not an accident of where a stream ends.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from pal_plugin.batch import rows_in
from pal_plugin.datasets import workers as data_workers
from pal_plugin.datasets.collate import clips_of
from pal_plugin.training.distributed import ALONE, World
from pal_plugin.training.streams import Indexed, LaneReader, Undivided
from pal_plugin.utils.errors import ConfigError


def training_loader(
    datasets: Mapping[str, Any],
    weights: Mapping[str, float],
    *,
    batch_size: int,
    num_workers: int,
    lanes: int,
    pool: int,
    seed: int,
    pin_memory: bool,
    world: World = ALONE,
    first: int = 0,
    positions: Mapping[int, dict] | None = None,
    prepare: Callable[[Any], Any] | None = None,
) -> DataLoader:
    """One loader of all training datasets, which never ends; arguments as of `LaneReader`.

    Args:
        prepare: what is done to each batch in the worker that made it (tokenising its texts).

    Yields:
        `Micro`.
    """
    reader = LaneReader(
        {name: _source(dataset, batch_size, seed) for name, dataset in datasets.items()},
        {name: _Collate(dataset, prepare) for name, dataset in datasets.items()},
        weights,
        lanes=lanes,
        batch_size=batch_size,
        pool=pool,
        seed=seed,
        rank=world.rank,
        size=world.size,
        first=first,
        positions=positions,
    )
    return DataLoader(
        reader,
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=pin_memory,
        # Keeps the loader from drawing its workers' seed from the global generator.
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=data_workers.start,
    )


def warn_of_few_shards(datasets: Mapping[str, Any], lanes: int) -> None:
    """Say which datasets every lane has to read whole."""
    for name, dataset in datasets.items():
        shards = len(getattr(dataset, "shards", ()))
        if 0 < shards < lanes:
            logging.warning(
                "%s has %d shards and run.lanes is %d, so each lane reads all of them for its part "
                "of the clips; more and smaller shards are read faster (pal data convert "
                "--shard-size)",
                name,
                shards,
                lanes,
            )


def warn_of_shared_lanes(lanes: int, workers: int, processes: int) -> None:
    """Say what reading by more readers than lanes costs."""
    readers = max(1, workers) * processes
    if lanes % readers:
        logging.warning(
            "run.lanes=%d and %d readers (%d processes x %d workers) do not fit, so that clips are "
            "decoded by several of them. For speed make run.lanes a multiple of %d; the order of "
            "the samples depends on it, so keep it the same in runs that you compare",
            lanes,
            readers,
            processes,
            max(1, workers),
            readers,
        )


def _source(dataset: Any, batch_size: int, seed: int) -> Any:
    if hasattr(dataset, "draws"):
        return dataset
    if isinstance(dataset, IterableDataset):
        return Undivided(dataset, batch_size)
    return Indexed(dataset, batch_size, seed)


class _Collate:
    """A dataset's own way from clips to a batch, and what is done to the batch then."""

    def __init__(self, dataset: Any, prepare: Callable[[Any], Any] | None) -> None:
        self._collate = getattr(dataset, "collater", list)
        self._prepare = prepare

    def __call__(self, clips: list) -> Any:
        batch = self._collate(clips)
        return self._prepare(batch) if self._prepare is not None and rows_in(batch) else batch


def _as_it_is(micro: Any) -> Any:
    """Without a function DataLoader would turn tuples into lists and arrays into tensors."""
    return micro


def mixing_weights(
    datasets: Mapping[str, Any], ratios: Mapping[str, float] | None
) -> dict[str, float]:
    """Weight of every training dataset: `run.train_dataset_ratios`, else its number of clips.

    Raises:
        ConfigError: ratios that name no dataset or leave one out, or are not positive.
    """
    ratios = {name: ratio for name, ratio in (ratios or {}).items() if ratio is not None}
    if ratios:
        if set(ratios) != set(datasets) or min(ratios.values()) <= 0:
            raise ConfigError(
                f"run.train_dataset_ratios must give a positive weight to each of "
                f"{', '.join(datasets)}, got {ratios}"
            )
        return {name: float(weight) for name, weight in ratios.items()}
    sizes = {name: clips_of(dataset) for name, dataset in datasets.items()}
    if None in sizes.values():
        return dict.fromkeys(datasets, 1.0)
    return {name: float(size) for name, size in sizes.items()}


def steps_per_epoch(
    datasets: Mapping[str, Any], clips_per_step: int, configured: int | None
) -> int:
    """Optimizer steps of an epoch: `run.steps_per_epoch`, or one pass over all clips."""
    if configured is not None:
        return int(configured)
    sizes = [clips_of(dataset) for dataset in datasets.values()]
    if None in sizes:
        raise ConfigError(
            "a training stream of unknown length needs run.steps_per_epoch, for example "
            "--options run.steps_per_epoch=500"
        )
    return max(1, math.ceil(sum(sizes) / clips_per_step))
