"""Locations of weights: `pocket://name` in the package, `weights://name` in the cache that
`pal weights get` fills; other locations are unchanged. Also the cache folder.

`latest:recipe` is resolved by the commands (`config.trained`).
"""

from __future__ import annotations

import os
from pathlib import Path

POCKET = Path(__file__).resolve().parent.parent / "pocket"
WEIGHTS = "weights://"


def cache_folder() -> Path:
    """Folder of files that can be recreated: `$PAL_CACHE`, else `~/.cache/pal_plugin`."""
    return Path(os.environ.get("PAL_CACHE") or "~/.cache/pal_plugin").expanduser()


def weights_folder() -> Path:
    """Parent folder of each `weights://name`."""
    return cache_folder() / "weights"


def resolve(location: str | Path) -> str:
    """Resolve a location to a path; hub names and paths are returned unchanged.

    Raises:
        FileNotFoundError: unknown name; the message says how to get it.
    """
    location = str(location)
    if location.startswith("pocket://"):
        path = POCKET / location.removeprefix("pocket://")
        if not path.exists():
            known = ", ".join(sorted(p.name for p in POCKET.iterdir())) if POCKET.exists() else ""
            raise FileNotFoundError(
                f"the package has no pocket weights {location!r} (available: {known or 'none'}); "
                "see pal_plugin/pocket/README.md"
            )
        return str(path)
    if location.startswith(WEIGHTS):
        path = weights_folder() / location.removeprefix(WEIGHTS)
        if not path.is_dir():
            raise FileNotFoundError(
                f"{location} is not in the cache ({path.parent}); `pal weights get small` "
                "downloads the small models, `pal weights list` lists them"
            )
        return str(path)
    return location
