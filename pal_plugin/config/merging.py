"""Strict merging of configurations: an unknown key is an error that suggests the nearest keys.

Works on plain dicts and lists, so that all problems can be collected before they are reported;
`pal_plugin.config.run_config` decides what is merged and in which order.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from pal_plugin.utils.spelling import did_you_mean

# Maps to which users may add keys (the only list of them). A `*` stands for one key. Everything
# below an added key is checked where it is used: encoders, connectors and datasets refuse unknown
# arguments.
FREE_MAPS = (
    "datasets",
    "datasets.*.build_info.annotations",
    "datasets.*.build_info.annotations.*.where",
    "datasets.*.build_info.counts",
    "datasets.*.build_info.shards",
    "datasets.*.labels",
    "model.encoders",
    "model.encoders.*.cache",
    "model.encoders.*.features",
    "model.encoders.*.model",
    "model.connectors",
    "model.connectors.*.args",
    "model.routing",
    "run.train_dataset_ratios",
)


# Keys that an entry may have although its defaults lack them.
OPTIONAL_KEYS = {
    "model.encoders.*": ("cache", "hidden_states"),
    "model.routing.*": ("layers", "pool"),
}
# Renamed keys: former name to current name, for the error message.
RENAMED = {"run.lanes": "run.shard_streams"}
# Entries that may have either of two types: a route or a list of them, `cache: true` or its
# settings.
OF_TWO_KINDS = {"model.routing.*": {dict, list}, "model.encoders.*.cache": {dict, bool}}


def is_free_map(path: str) -> bool:
    """Whether new keys may be added to the map at `path` ("model.encoders")."""
    return any(fits(pattern, path) for pattern in FREE_MAPS)


def fits(pattern: str, path: str) -> bool:
    """Whether a dotted path matches a pattern, whose `*` does not match dots."""
    return pattern.count(".") == path.count(".") and fnmatchcase(path, pattern)


def present(entries: dict[str, Any]) -> dict[str, Any]:
    """The entries of a map that are not null; null removes an entry."""
    return {name: entry for name, entry in entries.items() if entry is not None}


def flat(config: Any, path: str = "") -> dict[str, Any]:
    """`{"run": {"seed": 1}}` -> `{"run.seed": 1}`: the values that are no maps, by dotted name."""
    if not isinstance(config, dict) or not config:
        return {path: config} if path else {}
    found: dict[str, Any] = {}
    for key, inner in config.items():
        found |= flat(inner, f"{path}.{key}" if path else str(key))
    return found


def merge_plain(base: Any, over: Any) -> Any:
    """`base` overridden by `over`, any keys: maps are merged by key, other values replaced."""
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{k: merge_plain(base.get(k), value) for k, value in over.items()}}


def merge_strict(base: Any, over: Any, *, source: str, errors: list[str], path: str = "") -> Any:
    """`base` overridden by `over`; both are plain containers, and neither is modified.

    Maps are merged by key, lists and values are replaced, null is always valid.

    Args:
        base: with all known keys.
        over: its keys must be in `base`, or in a free map.
        source: of `over`, for the messages ("--options").
        errors: messages are appended here.
        path: dotted path of `base`.
    """
    if isinstance(base, dict) and isinstance(over, dict):
        merged = dict(base)
        for key, value in over.items():
            inner = f"{path}.{key}" if path else str(key)
            if key in base:
                merged[key] = merge_strict(
                    base[key], value, source=source, errors=errors, path=inner
                )
            elif is_free_map(path) or key in _optional(path):
                merged[key] = value
            else:
                hint = f"It is now {RENAMED[inner]!r}." if inner in RENAMED else None
                errors.append(
                    f"{inner}: unknown key {key!r} in {source}. "
                    f"{hint or _where_else(key, base, path)}"
                )
        return merged
    kinds = {type(base), type(over)}
    either = any(fnmatchcase(path, p) and kinds == both for p, both in OF_TWO_KINDS.items())
    problem = None if either else _mismatch(base, over)
    if problem and not (isinstance(base, dict) and over is None):
        errors.append(f"{path}: {problem} in {source}")
        return base
    return over


def _optional(path: str) -> list[str]:
    return [k for of, keys in OPTIONAL_KEYS.items() if fnmatchcase(path, of) for k in keys]


def _where_else(key: str, base: dict, path: str) -> str:
    hint = did_you_mean(str(key), [*map(str, base), *_optional(path)])
    deeper = [
        f"{path}.{name}.{key}" if path else f"{name}.{key}"
        for name, value in base.items()
        if isinstance(value, dict) and key in value
    ]
    return f"{hint} Do you mean {deeper[0]!r}?" if deeper else hint


def _mismatch(base: Any, over: Any) -> str | None:
    """Why `over` cannot replace `base`, or None."""
    if base is None or over is None or _is_interpolation(base) or _is_interpolation(over):
        return None
    if isinstance(base, dict):
        return f"expected a map with the keys {', '.join(map(str, base))}, got {over!r}"
    if base in ("auto", "none") and isinstance(over, bool):  # a mode, or true and false
        return None
    if isinstance(base, bool) != isinstance(over, bool):
        return f"expected {_kind(base)} (such as {base!r}), got {over!r}"
    if isinstance(base, (int, float)) and not isinstance(over, (int, float)):
        return f"expected a number (such as {base!r}), got {over!r}"
    if isinstance(base, list) and not isinstance(over, list):
        return f"expected a list (such as {base!r}), got {over!r}"
    return None


def _is_interpolation(value: Any) -> bool:
    return isinstance(value, str) and "${" in value


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(value), f"a {type(value).__name__}")
