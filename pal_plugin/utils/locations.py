"""Where weights are: `pocket://name` in the package, `weights://name` in the cache that
`pal weights get` fills, anything else as it is; and the cache folder.

`latest:recipe`, which only the commands know, is resolved by them (`training.run_folder`).
"""

from __future__ import annotations

import os
from pathlib import Path

POCKET = Path(__file__).resolve().parent.parent / "pocket"
WEIGHTS = "weights://"


def cache_folder() -> Path:
    """What can be made or fetched again is kept here: `$PAL_CACHE`, else `~/.cache/pal_plugin`."""
    return Path(os.environ.get("PAL_CACHE") or "~/.cache/pal_plugin").expanduser()


def weights_folder() -> Path:
    """Holds a folder for each `weights://name`."""
    return cache_folder() / "weights"


def resolve(location: str | Path) -> str:
    """Turn a location into what a loader takes; hub names and paths pass through.

    Raises:
        FileNotFoundError: nothing of that name, with the way to get it.
    """
    location = str(location)
    if location.startswith("pocket://"):
        path = POCKET / location.removeprefix("pocket://")
        if not path.exists():
            known = ", ".join(sorted(p.name for p in POCKET.iterdir())) if POCKET.exists() else ""
            raise FileNotFoundError(
                f"no pocket weights {location!r} in the package (there: {known or 'nothing'}); "
                "pal_plugin/pocket/README.md says how they are made"
            )
        return str(path)
    if location.startswith(WEIGHTS):
        path = weights_folder() / location.removeprefix(WEIGHTS)
        if not path.is_dir():
            raise FileNotFoundError(
                f"{location} is not in the cache ({path.parent}); `pal weights get small` fetches "
                "the small models, `pal weights list` names them"
            )
        return str(path)
    return location
