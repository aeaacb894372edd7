"""Read a run file with its base files.

`base:` is a file or a list of files, relative to the file itself; they are merged in order, and the
file itself comes last. So recipes that differ in a line differ in a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pal_plugin.config.merging import merge_plain
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import did_you_mean

SECTIONS = ("model", "preprocess", "run", "datasets", "data")


def load_yaml(path: Path) -> dict:
    """A YAML file as plain containers, with interpolations unresolved.

    Raises:
        ConfigError: the file does not exist or is not a YAML map.
    """
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        hint = did_you_mean(path.name, beside) if beside else f"No folder {path.parent}."
        raise ConfigError(f"no configuration file {path}. {hint}")
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # PyYAML and OmegaConf raise unrelated types; all name the line
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a map with the keys {', '.join(SECTIONS)}")
    return loaded


def read_run_file(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A run file merged on top of its `base`, without that key.

    Args:
        path: the run file.
        above: files that are based on this one, outermost first.

    Raises:
        ConfigError: a missing or invalid file, an invalid `base`, or a cycle.
    """
    place = path.resolve()
    if place in above:
        circle = " -> ".join(p.name for p in (*above[above.index(place) :], place))
        raise ConfigError(f"base: these run files form a cycle: {circle}")
    file = load_yaml(path)
    bases = file.pop("base", None) or []
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(name, str) for name in bases):
        raise ConfigError(
            f"base in {path} is {bases!r}; expected a file name or a list of them, relative to "
            f"{path.parent}"
        )
    merged: dict[str, Any] = {}
    for name in bases:
        try:
            of_base = read_run_file(path.parent / name, (*above, place))
        except ConfigError as error:
            if "no configuration file" in str(error):
                raise ConfigError(f"base of {path}: {error}") from error
            raise
        merged = merge_plain(merged, of_base)
    return merge_plain(merged, file)


def read_run_files(paths: Sequence[Path]) -> dict[str, Any]:
    """Several run files, merged in order as the files of a `base` are.

    A value that one leaves open (`???`) may come from any other, whichever is first.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        merged = merge_plain(merged, _without_missing(read_run_file(path), merged))
    return merged


def _without_missing(over: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """`over` without each `???` that `base` has a value for."""
    kept = {}
    for key, value in over.items():
        below = base.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            kept[key] = _without_missing(value, below)
        elif value != "???" or key not in base:
            kept[key] = value
    return kept
