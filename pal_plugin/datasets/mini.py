"""`pal_mini`: labelled clips of several domains in one mixture, one question per domain.

Design choice: the domains share batches instead of being separate datasets, so that batch
statistics (CLAP's BatchNorm) and gradients always cover all domains, and a large domain does not
dominate a small one. Metrics list each domain as a question type.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from torch.utils.data import ConcatDataset, Dataset

from pal_plugin.config.recipes import beside_recipes
from pal_plugin.datasets.builders import Builder
from pal_plugin.datasets.clips import ClipDataset, LabelledClip, present, read_annotations
from pal_plugin.datasets.collate import SkippedClip, collate_clips
from pal_plugin.utils.errors import ConfigError


class MixedClips(Dataset):
    """Endless mixture of training datasets in fixed proportions.

    A pass has as many clips as all datasets together, split by weight. Each dataset iterates over
    all its clips, shuffled, before it repeats one; clips of a small one occur several times per
    pass, each time with a different augmentation.

    Args:
        datasets: datasets by name.
        weights: positive sampling weights by name; need not sum to 1.
        seed: seed of the order and of processors with a `reseed` method.
    """

    #: Indices beyond the length address later passes (epochs).
    counts_passes = True
    train = True

    def __init__(
        self, datasets: Mapping[str, ClipDataset], weights: Mapping[str, float], seed: int
    ) -> None:
        total = sum(len(dataset) for dataset in datasets.values())
        whole = sum(weights[name] for name in datasets)
        self.datasets, self.seed = dict(datasets), seed
        self.shares = {name: max(1, round(total * weights[name] / whole)) for name in self.datasets}

    def __len__(self) -> int:
        return sum(self.shares.values())

    def __getitem__(self, index: int) -> dict[str, Any] | SkippedClip:
        number, place = divmod(index, len(self))
        name, place = self._find(place)
        dataset = self.datasets[name]
        own_pass, step = divmod(number * self.shares[name] + place, len(dataset))
        clip = _shuffled(f"{self.seed}-{name}-{own_pass}", len(dataset))[step]
        reseed = getattr(dataset.audio_processor, "reseed", None)
        if reseed is not None:
            reseed(f"{self.seed}-{name}-{own_pass}-{clip}")
        return dataset[own_pass * len(dataset) + clip]

    def _find(self, place: int) -> tuple[str, int]:
        """Maps a position in the pass to the dataset and the position within its share."""
        for name, share in self.shares.items():
            if place < share:
                return name, place
            place -= share
        raise IndexError(place)

    def collater(self, clips: Sequence[dict | SkippedClip]) -> dict[str, Any]:
        """`collate_clips`."""
        return collate_clips(clips)


class JoinedClips(ConcatDataset):
    """Concatenation of evaluation datasets, each clip once."""

    def collater(self, clips: Sequence[dict | SkippedClip]) -> dict[str, Any]:
        """`collate_clips`."""
        return collate_clips(clips)


class MiniBuilder(Builder):
    """A folder of clips and one CSV with domain, label and split of each."""

    def build(self) -> dict[str, Dataset]:
        """`{"train": MixedClips, "val": JoinedClips}`, for runs that train on "train".

        Raises:
            ConfigError: if there is no domain to train or evaluate on, a clip is missing, or a
                weight is not positive.
        """
        domains = {k: v for k, v in self.settings["domains"].items() if v is not None}
        train = {n: self._clips(n, d, "train") for n, d in domains.items() if d["train"]}
        val = {n: self._clips(n, d, "val") for n, d in domains.items() if d["val"]}
        if not train or not val:
            raise ConfigError(f"domains: no train or no val split among {sorted(domains)}")
        weights = {name: float(domains[name]["weight"]) for name in train}
        if min(weights.values()) <= 0:
            raise ConfigError(f"domains.*.weight must be positive where train is set: {weights}")
        seed = self.settings["order_seed"]
        return {
            use: MixedClips(of, {name: weights.get(name, 1.0) for name in of}, seed)
            if self.trains(use)
            else JoinedClips(of.values())
            for use, of in (("train", train), ("val", val))
        }

    def _clips(self, name: str, domain: dict[str, Any], use: str) -> ClipDataset:
        clips = self._rows({"domain": domain["domain"], "split": domain[use]})
        labels = sorted({clip.label for clip in self._rows({"domain": domain["domain"]})})
        return ClipDataset(
            present(clips, required=True, split=f"{name} {use}"),
            self.processor("audio", self.trains(use)),
            self.processor("text", self.trains(use)),
            domain["questions"],
            labels,
            question_type=name,
            train=self.trains(use),
            seed=self.settings["order_seed"],
        )

    def _rows(self, where: dict[str, str]) -> list[LabelledClip]:
        info = self.settings["build_info"]
        annotations = beside_recipes(info["annotations"])
        return read_annotations(annotations, info["audio"]["storage"], where=where)


@lru_cache(maxsize=16)
def _shuffled(key: str, size: int) -> list[int]:
    order = list(range(size))
    random.Random(key).shuffle(order)
    return order
