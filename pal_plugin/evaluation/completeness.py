"""Check that an evaluation read all clips of its dataset, and list the skipped ones.

A dataset may have `left_out`, what was missing when it was built, and `allow_missing`, whether an
evaluation may skip clips; both are reported with the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pal_plugin.datasets.collate import clips_of
from pal_plugin.utils.errors import ConfigError


class Tally:
    """Counts the clips of one pass over a dataset.

    Args:
        dataset: its length is the expected number of clips.
        name: of the split, for the messages.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name = dataset, name
        self.met = self.skipped = 0
        self._counts = True

    def counted(self, batches: Iterable[dict]) -> Iterator[dict]:
        """Yield the batches unchanged; batches of other datasets may lack `num_clips`."""
        for batch in batches:
            self._counts = self._counts and "num_clips" in batch
            self.met += batch.get("num_clips", 0) + batch.get("num_unasked", 0)
            self.skipped += len(batch.get("skipped", ()))
            yield batch

    @property
    def counts(self) -> tuple[int, int, bool]:
        """Clips read and skipped by this process, and whether all batches had a count."""
        return self.met, self.skipped, self._counts

    def left_out(
        self, skipped: Sequence[str], counts: Sequence[tuple[int, int, bool]]
    ) -> list[str]:
        """All skipped clips: when the dataset was built, in this pass, and those without a name.

        Args:
            skipped: names and reasons of this pass.
            counts: `counts` of every process that evaluated a part of the dataset.

        Raises:
            ConfigError: the number of clips read differs from the expected one, and
                `allow_missing` is not set.
        """
        named = [*getattr(self.dataset, "left_out", ()), *skipped]
        expected = clips_of(self.dataset)
        met, missed = sum(count[0] for count in counts), sum(count[1] for count in counts)
        if expected is None or not all(count[2] for count in counts) or expected == met + missed:
            return named
        lost = expected - met - missed
        message = f"{self.name}: expected {expected} clips, read {met}"
        if lost < 0:
            if met <= expected:
                return named  # something was skipped that the index does not count
            raise ConfigError(f"{message}: is a shard or a file listed twice?")
        if not getattr(self.dataset, "allow_missing", False):
            raise ConfigError(
                f"{message} and skipped {missed}. Convert or fetch the data again, correct "
                "build_info.counts, or set build_info.allow_missing=true to evaluate without them"
            )
        return [*named, f"{lost} more clips (in the index, but not in the shards)"]
