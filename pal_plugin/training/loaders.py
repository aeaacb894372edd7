"""The training DataLoader, for map-style and streaming datasets alike.

It is infinite: an epoch is a number of steps and does not depend on where a stream ends.
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
from pal_plugin.training.streams import Indexed, StreamReader, Undivided
from pal_plugin.utils.errors import ConfigError


def training_loader(
    datasets: Mapping[str, Any],
    weights: Mapping[str, float],
    *,
    batch_size: int,
    num_workers: int,
    streams: int,
    pool: int,
    seed: int,
    pin_memory: bool,
    world: World = ALONE,
    first: int = 0,
    positions: Mapping[int, dict] | None = None,
    prepare: Callable[[Any], Any] | None = None,
) -> DataLoader:
    """One infinite DataLoader over all training datasets; other arguments as in `StreamReader`.

    Args:
        datasets: by name.
        weights: mixing weight of each dataset.
        num_workers: DataLoader workers; 0: load in this process.
        pin_memory: for copies to a GPU.
        world: rank and world size.
        prepare: applied to each batch in the worker (tokenizes its texts).

    Yields:
        `MicroBatch`.
    """
    reader = StreamReader(
        {name: _source(dataset, batch_size, seed) for name, dataset in datasets.items()},
        {name: _Collate(dataset, prepare) for name, dataset in datasets.items()},
        weights,
        streams=streams,
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
        # Keeps the DataLoader from drawing its base seed from the global generator.
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=data_workers.start,
    )


def warn_of_few_shards(datasets: Mapping[str, Any], streams: int) -> None:
    """Warn of datasets with fewer shards than shard streams: each stream reads all their shards."""
    for name, dataset in datasets.items():
        shards = len(getattr(dataset, "shards", ()))
        if 0 < shards < streams:
            logging.warning(
                "%s has %d shards, fewer than run.shard_streams=%d: every stream reads all shards "
                "and keeps its share of the clips. Smaller shards read faster (pal data convert "
                "--shard-size)",
                name,
                shards,
                streams,
            )


def warn_of_shared_streams(streams: int, workers: int, processes: int) -> None:
    """Warn where several DataLoader workers must read the same shard stream."""
    readers = max(1, workers) * processes
    if streams % readers:
        logging.warning(
            "run.shard_streams=%d is not a multiple of the %d readers (%d processes x %d workers), "
            "so several readers decode the same clips. For speed make run.shard_streams a multiple "
            "of %d; the sample order depends on it, so keep it equal in runs that you compare",
            streams,
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
    """A dataset's collate function, followed by `prepare`."""

    def __init__(self, dataset: Any, prepare: Callable[[Any], Any] | None) -> None:
        self._collate = getattr(dataset, "collater", list)
        self._prepare = prepare

    def __call__(self, clips: list) -> Any:
        batch = self._collate(clips)
        return self._prepare(batch) if self._prepare is not None and rows_in(batch) else batch


def _as_it_is(micro: Any) -> Any:
    """Identity: DataLoader's default would turn tuples into lists and arrays into tensors."""
    return micro


def mixing_weights(
    datasets: Mapping[str, Any], ratios: Mapping[str, float] | None
) -> dict[str, float]:
    """Mixing weight of each training dataset: `run.train_dataset_ratios`, else its clip count.

    All weights are 1 where a clip count is unknown.

    Raises:
        ConfigError: ratios for an unknown dataset, without one of them, or not positive.
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
    """Optimizer steps per epoch: `run.steps_per_epoch`, or one pass over all clips.

    Raises:
        ConfigError: not configured, and a dataset has an unknown number of clips.
    """
    if configured is not None:
        return int(configured)
    sizes = [clips_of(dataset) for dataset in datasets.values()]
    if None in sizes:
        raise ConfigError(
            "a training dataset has an unknown number of clips; set run.steps_per_epoch, e.g. "
            "--options run.steps_per_epoch=500"
        )
    return max(1, math.ceil(sum(sizes) / clips_per_step))
