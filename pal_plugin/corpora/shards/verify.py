"""Are shards as they were written? `pal data verify`.

Design choice: everything is checked and every fault is named, instead of stopping at the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pal_plugin.audio.decoding import AudioError, decode
from pal_plugin.audio.sources import named
from pal_plugin.corpora.items import item_faults
from pal_plugin.corpora.shards.reading import Shards, parts, read_shard
from pal_plugin.utils.files import file_sha256

_CLOSE_S = 1e-3


def verify(shards: Shards, tick: Callable[[int], None] = lambda n: None) -> list[str]:
    """All faults of shards, each with its shard and clip; none means that all is well.

    With an index: the hash of each shard and clip, and their numbers; each folder by its own. In
    any case: every clip decodes, is as long as its JSON says, and the JSON is complete.

    Args:
        tick: told of every n clips checked.
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
            faults.append(f"{url}: its hash differs from the index")
        hashes = (index or {}).get("clip_sha256")
        clips, keys = 0, seen.setdefault(Path(url).parent, set())
        for raw in read_shard(url):
            tick(1)
            clips += "__error__" not in raw
            key = raw["__key__"]
            if key in keys and "__error__" not in raw:
                faults.append(f"{url}, {key}: a second clip of this name")
            keys.add(key)
            faults += [f"{url}, {key}: {fault}" for fault in _faults(raw, hashes)]
        if clips != counts.get(url, clips):
            faults.append(f"{url}: holds {clips} of {counts[url]} clips")
    return faults


def _faults(raw: dict, hashes: dict[str, str] | None) -> list[str]:
    try:
        _, audio, facts = parts(raw)
    except ValueError as error:
        return [str(error)]
    digest = hashlib.sha256(audio).hexdigest()
    faults = []
    if facts.get("sha256", digest) != digest:
        faults.append("the audio's hash differs from its json")
    if hashes is not None:
        if raw["__key__"] not in hashes:
            faults.append("not in the index")
        elif hashes[raw["__key__"]] != digest:
            faults.append("the audio's hash differs from the index")
    if not facts["items"]:
        faults.append("its json holds no items")
    faults += item_faults(facts["items"])
    try:
        samples, rate_hz, _ = decode(named(audio, raw["__key__"]))
    except AudioError as error:
        return [*faults, str(error)]
    stated_s = facts.get("seconds", len(samples) / rate_hz)
    if not isinstance(stated_s, int | float):
        faults.append(f"its json says {stated_s!r:.80} as seconds, expected a number")
    elif abs(len(samples) / rate_hz - stated_s) > _CLOSE_S:
        faults.append(f"decodes to {len(samples) / rate_hz:.3f} s, its json says {stated_s} s")
    return faults
