"""A subset of a split (`run.eval_limit`), for quick evaluations.

The clips are drawn with a fixed seed, and a larger subset includes the smaller ones: every run,
whatever its seed, uses the same clips, and labels sorted in blocks are all covered.
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
    """Size of a subset.

    Attributes:
        asked: clips that are evaluated.
        whole: clips of the split.
    """

    asked: int
    whole: int

    @property
    def share(self) -> float:
        """Fraction of the split that is evaluated."""
        return round(self.asked / self.whole, 4)

    def __str__(self) -> str:
        return f"{self.asked} of {self.whole} clips (run.eval_limit)"


def limited(dataset: Any, most: int | None, name: str) -> Any:
    """The dataset, or a subset of `most` clips if it has more.

    Args:
        dataset: map-style, or a stream with a method `only`.
        most: None for all.
        name: of dataset and split, for the message.

    Raises:
        ConfigError: a stream that cannot be read in part.
    """
    if most is None:
        return dataset
    total = clips_of(dataset)
    stream = isinstance(dataset, IterableDataset)
    if total is None or (stream and not hasattr(dataset, "only")):
        raise ConfigError(
            f"run.eval_limit is {most}, but {name} is a stream that cannot be read in part "
            "(it has no length, or no method `only`); set run.eval_limit=null"
        )
    if total <= most:
        return dataset
    places = drawn(total, most)
    return dataset.only(places) if stream else _Some(dataset, places)


def drawn(total: int, most: int) -> list[int]:
    """Indices of `most` of `total` clips, sorted; always the same."""
    places = list(range(total))
    random.Random("run.eval_limit").shuffle(places)
    return sorted(places[:most])


class _Some(Subset):
    """A subset of a map-style dataset, with the attributes that evaluation reads."""

    def __init__(self, dataset: Any, places: Sequence[int]) -> None:
        super().__init__(dataset, places)
        for name in ("collater", "left_out", "allow_missing"):
            if hasattr(dataset, name):
                setattr(self, name, getattr(dataset, name))
