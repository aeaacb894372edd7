"""A part of a split (`run.eval_limit`), for figures in a hurry.

The clips are drawn by a fixed seed, and more of them include the fewer: so every run, of whatever
seed, is asked about the same ones, and labels that come in blocks or in turns are all met.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import IterableDataset, Subset

from pal_plugin.datasets.collate import clips_of
from pal_plugin.utils.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """Clips of a split that are asked about, and all of them."""

    asked: int
    whole: int

    @property
    def share(self) -> float:
        return round(self.asked / self.whole, 4)

    def __str__(self) -> str:
        return f"{self.asked} of {self.whole} clips (run.eval_limit)"


def limited(dataset: Any, most: int | None, name: str) -> Any:
    """The dataset, or `most` of its clips where it has more.

    Args:
        most: None for all.
        name: of dataset and split, for the message.

    Raises:
        ConfigError: a stream of which no part can be read.
    """
    if most is None:
        return dataset
    total = clips_of(dataset)
    stream = isinstance(dataset, IterableDataset)
    if total is None or (stream and not hasattr(dataset, "only")):
        raise ConfigError(
            f"run.eval_limit is {most}, and {name} is a stream that cannot be read in part "
            "(it has no length, or no method `only`); set run.eval_limit=null"
        )
    if total <= most:
        return dataset
    places = drawn(total, most)
    return dataset.only(places) if stream else _Some(dataset, places)


def drawn(total: int, most: int) -> list[int]:
    """Which of `total` clips, in their order."""
    places = list(range(total))
    random.Random("run.eval_limit").shuffle(places)
    return sorted(places[:most])


class _Some(Subset):
    """Some clips of a map-style dataset, with what evaluation reads of it besides."""

    def __init__(self, dataset: Any, places: Sequence[int]) -> None:
        super().__init__(dataset, places)
        for name in ("collater", "left_out", "allow_missing"):
            if hasattr(dataset, name):
                setattr(self, name, getattr(dataset, name))
