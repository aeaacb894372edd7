"""The trainings that are wanted, by type and seed, and where each of them stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pal_plugin.config.trained import FINISHED

#: Where records are kept, in the repository.
KEPT = Path(__file__).resolve().parents[4] / "benchmarks" / "results" / "evidence"

#: Types with the number of their seeds, in the order of the tables.
SEEDS = {"plits": 3, "lal": 3, "pal": 1, "both": 3, "flamingo": 1}
OVERLAY = "small/evidence"


@dataclass(frozen=True)
class Planned:
    """One training, done or not.

    Attributes:
        kind: of `SEEDS`.
        folder: the run folder, `OUTPUT/KIND-seedN`.
        record: the file that is kept of it, whether it exists or not.
    """

    kind: str
    seed: int
    folder: Path
    record: Path

    @property
    def finished(self) -> bool:
        """Whether it came to its end here, its evaluation included."""
        return (self.folder / FINISHED).is_file()

    @property
    def done(self) -> bool:
        """Whether it is finished here, or its record was kept."""
        return self.finished or self.record.is_file()

    def options(self, more: Sequence[str]) -> list[str]:
        """All changes to the recipe: where the run goes, its seed, and `more`."""
        return [f"run.seed={self.seed}", f"run.output_dir={self.folder.parent}", *more]

    def command(self, more: Sequence[str]) -> list[str]:
        """The product's own command, the same for a start and for going on."""
        return [
            *(sys.executable, "-m", "pal_plugin", "train", *recipe(self.kind)),
            *("--job-id", self.folder.name, "--resume", "auto"),
            *("--options", *self.options(more)),
        ]


def recipe(kind: str) -> tuple[str, str]:
    """The names of the run files that make a type's recipe."""
    return f"small/{kind}", OVERLAY


def plan(
    output: Path,
    types: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    kept: Path = KEPT,
) -> list[Planned]:
    """The trainings in their order: seed by seed, so that each type has a first result early.

    Args:
        types: of `SEEDS`; None: all.
        seeds: of each of these types; None: as many as `SEEDS` says.
        kept: the folder of records.
    """
    wanted = {kind: seeds if seeds is not None else range(SEEDS[kind]) for kind in types or SEEDS}
    numbers = sorted({seed for of_kind in wanted.values() for seed in of_kind})
    root = output.expanduser().resolve()
    return [
        Planned(kind, seed, root / f"{kind}-seed{seed}", kept / f"{kind}-seed{seed}.json.gz")
        for seed in numbers
        for kind, of_kind in wanted.items()
        if seed in of_kind
    ]


def seeds_in(*folders: Path) -> list[int]:
    """The seeds of all run folders and records there, planned or not."""
    paths = (path for folder in folders for path in folder.expanduser().glob("*-seed*"))
    names = (path.name.removesuffix(".json.gz") for path in paths)
    found = (re.fullmatch(rf"({'|'.join(SEEDS)})-seed(\d+)", name) for name in names)
    return sorted({int(match[2]) for match in found if match})
