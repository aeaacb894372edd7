"""One process of `ensure_shards`: writes the shards it is given and reports on standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from pal_plugin.soundworld.shards import write_shard


def _tell(clips: int) -> None:
    print(f"done {clips}", flush=True)


def main(folder: str, split: str, clips: str, seed: str, numbers: str) -> None:
    for number in numbers.split(","):
        write_shard(Path(folder), split, int(clips), int(seed), int(number), _tell)


if __name__ == "__main__":
    main(*sys.argv[1:])
