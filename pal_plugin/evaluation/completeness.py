"""Whether an evaluation met all clips that its dataset states, and which were left out.

A dataset may have `left_out`, what was missing when it was built, and `allow_missing`, whether an
evaluation goes on without some; both are told beside the figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pal_plugin.datasets.collate import clips_of
from pal_plugin.utils.errors import ConfigError


class Tally:
    """Counts the clips of one pass over a dataset.

    Args:
        dataset: its length is the number of clips that it states.
        name: of the split, for the messages.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self.dataset, self.name = dataset, name
        self.met = self.skipped = 0
        self._counts = True

    def counted(self, batches: Iterable[dict]) -> Iterator[dict]:
        """The batches as they are; those of foreign datasets need not tell their clips."""
        for batch in batches:
            self._counts = self._counts and "num_clips" in batch
            self.met += batch.get("num_clips", 0) + batch.get("num_unasked", 0)
            self.skipped += len(batch.get("skipped", ()))
            yield batch

    @property
    def counts(self) -> tuple[int, int, bool]:
        """Clips met and skipped in this process, and whether all batches told theirs."""
        return self.met, self.skipped, self._counts

    def left_out(
        self, skipped: Sequence[str], counts: Sequence[tuple[int, int, bool]]
    ) -> list[str]:
        """All that was left out: when the dataset was built, in this pass, and without a name.

        Args:
            skipped: names and reasons of this pass.
            counts: of every process that asked about a part of the dataset.

        Raises:
            ConfigError: the pass met another number of clips than the dataset states, and nothing
                allows it.
        """
        named = [*getattr(self.dataset, "left_out", ()), *skipped]
        stated = clips_of(self.dataset)
        met, missed = sum(count[0] for count in counts), sum(count[1] for count in counts)
        if stated is None or not all(count[2] for count in counts) or stated == met + missed:
            return named
        lost = stated - met - missed
        told = f"{self.name}: {stated} clips are stated, and {met} came"
        if lost < 0:
            if met <= stated:
                return named  # something was skipped that the index does not count
            raise ConfigError(f"{told}: is a shard or a file named twice?")
        if not getattr(self.dataset, "allow_missing", False):
            raise ConfigError(
                f"{told}, {missed} more by name. Write or fetch the data again, correct "
                "build_info.counts, or set build_info.allow_missing=true to go without them"
            )
        return [*named, f"{lost} more clips (stated by the index, and not in the shards)"]
