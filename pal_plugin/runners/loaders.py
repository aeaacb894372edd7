"""DataLoaders that do what the configuration says, for map-style and streaming datasets alike.

Training draws from an endless iterator, so an epoch is a number of steps and never an accident of
where a stream ends; evaluation is one finite pass over every dataset of a split.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler

from pal_plugin.errors import ConfigError
from pal_plugin.runners.length_batches import LengthBatches


class PassSampler(Sampler[int]):
    """Endless shuffled passes over a map-style dataset, the same for the same seed.

    Yields `pass * len(dataset) + index`: a dataset that varies between passes (which question it
    asks) can tell them apart, whichever worker is asked.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed

    def __iter__(self) -> Iterator[int]:
        number = 0
        while True:
            order = list(range(self.size))
            random.Random(f"{self.seed}-{number}").shuffle(order)
            yield from (number * self.size + index for index in order)
            number += 1


class _Passes(Dataset):
    """Lets datasets that know nothing of passes be indexed by `PassSampler`."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.aware = getattr(dataset, "counts_passes", False)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index if self.aware else index % len(self.dataset)]


def clips_of(dataset: Any) -> int | None:
    """Number of clips in a dataset, None where it cannot be known."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError):
        return None


def build_loader(
    dataset: Any,
    batch_size: int,
    num_workers: int,
    *,
    train: bool,
    seed: int,
    pin_memory: bool,
    length_pool: int = 1,
) -> DataLoader:
    """One loader of one dataset; the dataset's `collater` makes the batches.

    Training loaders never end (streams are expected to be endless themselves).

    Args:
        length_pool: training batches' worth of clips that are sorted by length together
            (`LengthBatches`); 1 leaves the order as it comes.
    """
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "collate_fn": getattr(dataset, "collater", None),
        "persistent_workers": train and num_workers > 0,
        "pin_memory": pin_memory,
        # Keeps the loader from drawing its workers' seed from the global generator.
        "generator": torch.Generator().manual_seed(seed),
    }
    streams = isinstance(dataset, IterableDataset)
    if not train:
        return DataLoader(dataset, **options)
    if not streams and not len(dataset):
        raise ConfigError("a training dataset is empty")
    sampler = None if streams else PassSampler(len(dataset), seed)
    dataset = dataset if streams else _Passes(dataset)
    collate = options["collate_fn"]
    if length_pool > 1 and collate is not None:
        options |= {"batch_size": None, "collate_fn": _as_it_is}
        return DataLoader(
            LengthBatches(dataset, batch_size, length_pool, seed, collate, sampler), **options
        )
    return DataLoader(dataset, sampler=sampler, **options)


def _as_it_is(batch: Any) -> Any:
    """Without a function DataLoader would turn tuples into lists and arrays into tensors."""
    return batch


class MixedLoader:
    """Endless batches, each from one of several loaders drawn by weight with a seed of its own."""

    def __init__(self, loaders: dict[str, DataLoader], weights: dict[str, float], seed: int):
        self.loaders, self.weights, self.seed = loaders, weights, seed

    def __iter__(self) -> Iterator[Any]:
        rng = random.Random(self.seed)
        iterators = {name: iter(loader) for name, loader in self.loaders.items()}
        names = list(iterators)
        while True:
            (name,) = rng.choices(names, [self.weights[n] for n in names])
            try:
                yield next(iterators[name])
            except StopIteration:  # a stream that ends after all: start it again
                iterators[name] = iter(self.loaders[name])
                yield next(iterators[name])


def mixing_weights(
    datasets: Mapping[str, Any], ratios: Mapping[str, float] | None
) -> dict[str, float]:
    """Weight of every training dataset: `run.train_dataset_ratios`, else its number of clips.

    Raises:
        ConfigError: ratios that name no dataset or leave one out, or are not positive.
    """
    if ratios:
        if set(ratios) != set(datasets) or min(ratios.values()) <= 0:
            raise ConfigError(
                f"run.train_dataset_ratios must give a positive weight to each of "
                f"{', '.join(datasets)}, got {dict(ratios)}"
            )
        return {name: float(weight) for name, weight in ratios.items()}
    sizes = {name: clips_of(dataset) for name, dataset in datasets.items()}
    if None in sizes.values():
        return dict.fromkeys(datasets, 1.0)
    return {name: float(size) for name, size in sizes.items()}


def steps_per_epoch(datasets: Mapping[str, Any], batch_size: int, configured: int | None) -> int:
    """Batches of an epoch: `run.steps_per_epoch`, or one pass over the clips of all datasets."""
    if configured is not None:
        if int(configured) < 1:
            raise ConfigError(f"run.steps_per_epoch is {configured}; expected 1 or more, or null")
        return int(configured)
    sizes = [clips_of(dataset) for dataset in datasets.values()]
    if None in sizes:
        raise ConfigError(
            "a training stream of unknown length needs run.steps_per_epoch, for example "
            "--options run.steps_per_epoch=500"
        )
    return max(1, math.ceil(sum(sizes) / batch_size))
