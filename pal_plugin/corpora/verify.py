"""Are shards as they were written? `pal data verify`.

Design choice: everything is checked and every fault is named, instead of stopping at the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from pal_plugin.audio.io import AudioError, load_audio
from pal_plugin.corpora.reading import Shards, parse, read_shard
from pal_plugin.corpora.shards import file_sha256

_TEXTS = ("task", "question_type", "question", "answer")
_CLOSE_S = 1e-3


def verify(shards: Shards, tick: Callable[[int], None] = lambda n: None) -> list[str]:
    """All faults of shards, each with its shard and clip; none means that all is well.

    With an index: the hash of each shard and clip, and their numbers. In any case: every clip
    decodes, is as long as its JSON says, and the JSON is complete.

    Args:
        tick: told of every n clips checked.
    """
    stated = {
        entry["name"]: entry
        for entry in (shards.index or {}).get("shards", [])
        if isinstance(entry, dict)
    }
    hashes = (shards.index or {}).get("clip_sha256")
    faults, seen = [], set()
    for url in shards.urls:
        name = Path(url).name
        expected = stated.get(name, {}).get("sha256")
        if expected and Path(url).is_file() and file_sha256(Path(url)) != expected:
            faults.append(f"{name}: its hash differs from the index")
        clips = 0
        for raw in read_shard(url):
            tick(1)
            clips += "__error__" not in raw
            key = raw["__key__"]
            if key in seen:
                faults.append(f"{name}, {key}: a second clip of this name")
            seen.add(key)
            faults += [f"{name}, {key}: {fault}" for fault in _faults(raw, hashes)]
        if url in shards.counts and clips != shards.counts[url]:
            faults.append(f"{name}: holds {clips} of {shards.counts[url]} clips")
    return faults


def _faults(raw: dict, hashes: dict[str, str] | None) -> list[str]:
    try:
        _, audio, facts = parse(raw)
    except ValueError as error:
        return [str(error)]
    faults = []
    digest = hashlib.sha256(audio).hexdigest()
    for where, stated in (("its json", facts.get("sha256")), ("the index", digest)):
        if where == "the index":
            stated = hashes.get(raw["__key__"]) if hashes is not None else digest
        if stated is not None and stated != digest:
            faults.append(f"the audio's hash differs from {where}")
        if stated is None and where == "the index":
            faults.append("not in the index")
    try:
        waveform, rate_hz = load_audio(audio)
    except AudioError as error:
        return [*faults, str(error)]
    stated_s = facts.get("seconds")
    if stated_s is not None and abs(len(waveform) / rate_hz - stated_s) > _CLOSE_S:
        faults.append(f"decodes to {len(waveform) / rate_hz:.3f} s, its json says {stated_s} s")
    if not facts["items"]:
        faults.append("its json holds no items")
    for number, item in enumerate(facts["items"]):
        wrong = [k for k in _TEXTS if not isinstance(item, dict) or not item.get(k)]
        if wrong:
            faults.append(f"item {number} has no {', '.join(wrong)}")
    return faults
