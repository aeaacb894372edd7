"""Writes one shard: a tar in WebDataset's layout, and a record that marks it as complete.

Design choice: tar and record are each written to a temporary name and renamed, the record last and
with the tar's hash. So a process killed at any time leaves no shard that looks complete, and a
finished shard is recognized without opening it.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pal_plugin.utils.errors import ConfigError, UserError
from pal_plugin.utils.files import file_sha256, replace_text, replacing
from pal_plugin.utils.printable import json_text

if TYPE_CHECKING:
    from pal_plugin.corpora.shards.encode import Encoded

#: Audio formats in a shard: original bytes, or re-encoded as mono.
FORMATS = ("keep", "flac", "ogg")
_KEY_LENGTH = 60
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def safe_keys(ids: Iterable[str]) -> list[str]:
    """Keys of clips within a tar: unique, of letters, digits, `_` and `-`, for any ids.

    WebDataset cuts names at the first dot and skips names like `__x__`, and tar programs follow
    `/` and `..`; an id that had to be changed gets part of its hash appended.
    """
    keys, seen = [], set()
    for name in ids:
        plain = _UNSAFE.sub("_", name).lstrip("_")[-_KEY_LENGTH:]
        key = plain
        if not plain or plain != name or plain.lower() in seen:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
            key = f"{plain}-{digest[:10]}".lstrip("-")
        seen.add(key.lower())  # some file systems are case-insensitive
        keys.append(key)
    return keys


def record_path(shard: Path) -> Path:
    """Path of the record of `NAME.tar`: `NAME.json`."""
    return shard.with_suffix(".json")


def finished(shard: Path, digest: str | None = None) -> dict[str, Any] | None:
    """The record of a complete shard; None if the shard is incomplete.

    Args:
        digest: expected digest of the shard's input; a different one counts as incomplete.
    """
    try:
        record = json.loads(record_path(shard).read_text("utf-8"))
        size = shard.stat().st_size
    except (OSError, ValueError):
        return None
    if size != record.get("bytes") or (digest is not None and record.get("digest") != digest):
        return None
    return record


def write_shard(job: dict[str, Any], tick: Callable[[int], None]) -> None:
    """Writes a shard and its record.

    The record holds `shard`, `digest`, `bytes`, `sha256`, `clips` (written, with hashes), `broken`
    (with reasons), `too_short`.

    Args:
        job: `path`, `digest`, `audio` (folder), `format`, `rate_hz`, `min_seconds`, and `clips`,
            each `{"key", "id", "file", "items", "facts"}`; `file` is a list for a conversation.
        tick: progress callback, called with the number of clips done since the last call.

    Raises:
        ConfigError: if writing fails (e.g. disk full, no permission).
    """
    path = Path(job["path"])
    record = {"shard": path.name, "digest": job["digest"], "bytes": 0, "sha256": ""}
    record.update(clips=[], broken=[], too_short=[])
    try:
        with replacing(path) as partial:
            with tarfile.open(partial, "w") as tar:
                for clip in job["clips"]:
                    _add(tar, clip, job, record)
                    tick(1)
            record.update(bytes=partial.stat().st_size, sha256=file_sha256(partial))
            record_path(path).unlink(missing_ok=True)  # of an older shard with this name
        write_json(record_path(path), record)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically."""
    replace_text(path, json_text(value, indent=1) + "\n")


def _add(tar: tarfile.TarFile, clip: dict, job: dict, record: dict) -> None:
    """Adds a clip, or all clips of a conversation; if one is unusable, none."""
    several = not isinstance(clip["file"], str)
    contents, abouts = {}, []
    for number, file in enumerate(clip["file"] if several else [clip["file"]]):
        named = {"id": clip["id"], "file": file}
        try:
            encoded, source_sha256 = _encoded(Path(job["audio"], file), job)
        except (UserError, OSError) as error:
            record["broken"].append({**named, "reason": str(error)})
            return
        if encoded.seconds < job["min_seconds"]:
            record["too_short"].append({**named, "seconds": round(encoded.seconds, 6)})
            return
        about = {
            "seconds": round(encoded.seconds, 6),
            "rate_hz": encoded.rate_hz,
            "channels": encoded.channels,
            "sha256": hashlib.sha256(encoded.data).hexdigest(),
        }
        if encoded.clipped:
            about["clipped_samples"] = encoded.clipped
        abouts.append((about, {"source": file}, {"source_sha256": source_sha256}))
        contents[f"{number}.{encoded.extension}" if several else encoded.extension] = encoded.data
    licence_text = clip["facts"].get("licence")
    licence = {"licence": licence_text} if licence_text else {}
    if several:
        facts = {"id": clip["id"], "clips": [about | name | sha for about, name, sha in abouts]}
        facts.update(licence)
    else:
        ((about, name, sha),) = abouts
        facts = {"id": clip["id"], **about, **name, **sha, **licence}
    facts.update(facts=clip["facts"], items=clip["items"])
    text = json_text(facts, separators=(",", ":")).encode()
    for extension, content in sorted({**contents, "json": text}.items()):
        member = tarfile.TarInfo(f"{clip['key']}.{extension}")
        member.size, member.mode = len(content), 0o444
        member.uname = member.gname = "bigdata"  # as WebDataset's own writer sets them
        tar.addfile(member, io.BytesIO(content))
    tasks = Counter(item["task"] for item in clip["items"])
    entry = {"key": clip["key"], "id": clip["id"], "file": clip["file"]}
    if several:
        entry["clips"] = [
            {"key": f"{clip['key']}.{number}", **about, **sha}
            for number, (about, _, sha) in enumerate(abouts)
        ]
    else:
        entry.update(about | sha)
    record["clips"].append({**entry, "tasks": tasks, **licence})


def _encoded(source: Path, job: dict) -> tuple[Encoded, str]:
    """A file as the job's format, and the SHA-256 of the original."""
    from pal_plugin.corpora.shards.encode import encode  # lazy: it needs libsndfile

    data = source.read_bytes()
    extension = source.suffix[1:].lower()
    encoded = encode(data, extension, job["format"], job["rate_hz"], str(source))
    return encoded, hashlib.sha256(data).hexdigest()
