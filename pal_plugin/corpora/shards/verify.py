"""Verifies the integrity of shards: `pal data verify`.

Design choice: checks everything and reports every fault, instead of stopping at the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pal_plugin.audio.decoding import AudioError, decode
from pal_plugin.audio.sources import named
from pal_plugin.corpora.items import item_faults
from pal_plugin.corpora.shards.reading import Shards, clips_in, parts, read_shard
from pal_plugin.utils.files import file_sha256

_CLOSE_S = 1e-3


def verify(shards: Shards, tick: Callable[[int], None] = lambda n: None) -> list[str]:
    """All faults of a set of shards, each with shard and clip; empty if they are intact.

    With an index: checks hashes and counts of shards and clips, per folder. Always: every clip
    decodes, its length matches its JSON, and its items are valid.

    Args:
        tick: progress callback, called with the number of clips checked since the last call.
    """
    faults: list[str] = []
    seen: dict[Path, set[str]] = {}
    counts = shards.counts
    for url in shards.urls:
        index = shards.index_of(url)
        entry = shards.entries.get(url)
        expected = (entry or {}).get("sha256")
        if index is not None and entry is None:
            faults.append(f"{url}: not in the index")
        if expected and Path(url).is_file() and file_sha256(Path(url)) != expected:
            faults.append(f"{url}: SHA-256 differs from the index")
        hashes = (index or {}).get("clip_sha256")
        clips, keys = 0, seen.setdefault(Path(url).parent, set())
        for raw in read_shard(url):
            tick(1)
            clips += "__error__" not in raw
            key = raw["__key__"]
            if key in keys and "__error__" not in raw:
                faults.append(f"{url}, {key}: duplicate key")
            keys.add(key)
            faults += [f"{url}, {key}: {fault}" for fault in _faults(raw, hashes)]
        if clips != counts.get(url, clips):
            faults.append(f"{url}: expected {counts[url]} clips, read {clips}")
    return faults


def _faults(raw: dict, hashes: dict[str, str] | None) -> list[str]:
    try:
        audio, facts = parts(raw)
    except ValueError as error:
        return [str(error)]
    faults = [] if facts["items"] else ["json has no items"]
    faults += item_faults(facts["items"], clips_in(facts))
    if not isinstance(audio, tuple):
        return _clip_faults(audio, facts, raw["__key__"], hashes) + faults
    for number, (one, about) in enumerate(zip(audio, facts["clips"], strict=True)):
        name = f"{raw['__key__']}.{number}"
        about = about if isinstance(about, dict) else {}
        faults += [f"clip {number}: {f}" for f in _clip_faults(one, about, name, hashes)]
    return faults


def _clip_faults(audio: bytes, facts: dict, name: str, hashes: dict[str, str] | None) -> list[str]:
    digest = hashlib.sha256(audio).hexdigest()
    faults = []
    if facts.get("sha256", digest) != digest:
        faults.append("audio SHA-256 differs from json")
    if hashes is not None:
        if name not in hashes:
            faults.append("not in the index")
        elif hashes[name] != digest:
            faults.append("audio SHA-256 differs from the index")
    try:
        samples, rate_hz, _ = decode(named(audio, name))
    except AudioError as error:
        return [*faults, str(error)]
    expected_s = facts.get("seconds", len(samples) / rate_hz)
    if not isinstance(expected_s, int | float):
        faults.append(f"expected a number as seconds in json, got {expected_s!r:.80}")
    elif abs(len(samples) / rate_hz - expected_s) > _CLOSE_S:
        faults.append(f"expected {expected_s} s (json), decoded {len(samples) / rate_hz:.3f} s")
    return faults
