"""Encoder states on disk: a folder of safetensors shards, read and extended by several processes
concurrently.

Design choice: a shard is written once, atomically, under a unique name, so no locks are needed and
nothing is modified. The index comes from the shards' headers; on a cache miss a process checks
whether the folder has changed. The valid tokens of a shard form one tensor; a clip is a slice of
it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
import zlib
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pal_plugin.utils.weights import write_tensors

FORMAT = "pal_plugin encoder states 1"
SUFFIX = ".safetensors"
#: A shard is written when this much is pending, or when the oldest clip has waited this long.
SHARD_BYTES, WAIT_S = 64 * 2**20, 60.0
_STALE_S = 24 * 3600


class ClipStates(NamedTuple):
    """States of one clip: valid tokens of all windows, concatenated, `[sum valid, D]`; valid tokens
    per window, long `[W]`; feature frames per window, long `[W]`."""

    states: Tensor
    valid: Tensor
    frames: Tensor

    def entry(self) -> dict[str, Tensor]:
        """The states as an entry in place of features."""
        return {"states": self.states, "valid": self.valid, "frames": self.frames}

    @property
    def nbytes(self) -> int:
        """Size of the tensors in bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self)


class StateShards:
    """Read access to the shards of a folder; picklable.

    Args:
        folder: the folder; need not exist.
        space: hash of what the states depend on; shards with a different one are ignored.
        sizes_only: `find` returns empty states `[0, D]`, for callers that only check presence.
    """

    def __init__(self, folder: Path, space: str, *, sizes_only: bool = False) -> None:
        self.folder, self.space, self.sizes_only = folder, space, sizes_only
        self._where: dict[str, Path] = {}
        self._seen: set[str] = set()
        self._changed_ns = -1

    def __contains__(self, key: str) -> bool:
        path = self._where.get(key)
        if path is not None and not path.exists():  # another process removed a damaged shard
            self._forget(path, FileNotFoundError())
        if key not in self._where:
            self._look()
        return key in self._where

    def __len__(self) -> int:
        self._look()
        return len(self._where)

    def find(self, key: str) -> ClipStates | None:
        """The states of a clip; None if missing, deleted or damaged."""
        if key not in self:
            return None
        path = self._where[key]
        try:
            return _open(path).clip(key, self.sizes_only)
        except (OSError, SafetensorError, _DamagedError) as error:
            self._forget(path, error)
            return None

    def _look(self) -> None:
        """Reads the headers of new shards, if the folder has changed."""
        try:
            changed_ns = self.folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed_ns == self._changed_ns:
            return
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path.name not in self._seen:
                self._seen.add(path.name)
                self._read_header(path)
        # A shard added within the timestamp's resolution would be missed: check again next time.
        recent = time.time_ns() - changed_ns < 10**8
        self._changed_ns = -1 if recent else changed_ns

    def _read_header(self, path: Path) -> None:
        try:
            with safe_open(path, "pt") as file:
                facts = file.metadata() or {}
        except (OSError, SafetensorError) as error:
            self._forget(path, error)
            return
        if facts.get("format") != FORMAT or facts.get("space") != self.space:
            logging.warning("%s is not a shard of these states; ignoring it", path)
            return
        self._where |= dict.fromkeys(json.loads(facts["keys"]), path)

    def _forget(self, path: Path, error: Exception) -> None:
        """Drops a shard, so that its clips are encoded again; deletes it if damaged."""
        if not isinstance(error, FileNotFoundError):
            logging.warning("cannot read %s (%s); encoding its clips again", path, error)
        if not isinstance(error, OSError):  # an OSError may not be the shard's fault
            path.unlink(missing_ok=True)
        self._where = {key: place for key, place in self._where.items() if place != path}


class ShardWriter:
    """Adds clips to a folder of shards.

    Args:
        shards: the existing shards.
        root: the cache's root folder, with the shards of all encoders.
        limit_bytes: maximum total size of the shards below `root`, in bytes.
    """

    def __init__(self, shards: StateShards, root: Path, limit_bytes: float) -> None:
        self.shards, self.root, self.limit_bytes = shards, root, limit_bytes
        self.closed = False  # whether it has stopped writing (size limit, write error)
        self._waiting: dict[str, ClipStates] = {}
        self._bytes, self._since = 0, 0.0

    def add(self, key: str, clip: ClipStates) -> None:
        """Adds a clip's states, on the CPU, unless they are stored already."""
        if self.closed or key in self._waiting or key in self.shards:
            return
        if not self._waiting:
            self._since = time.monotonic()
        # Copy: a view would keep the whole batch's states alive.
        self._waiting[key] = ClipStates(*(tensor.clone() for tensor in clip))
        self._bytes += clip.nbytes
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= WAIT_S:
            self.flush()

    def flush(self) -> None:
        """Writes pending clips. At the size limit or on a write error, stops writing for good."""
        waiting, size = self._waiting, self._bytes
        self._waiting, self._bytes = {}, 0
        if not waiting or self.closed:
            return
        if bytes_below(self.root) + size > self.limit_bytes:
            self._close(f"limit_gb of {gb(self.limit_bytes)} is reached")
            return
        try:
            write_shard(self.shards.folder, self.shards.space, waiting)
        except (OSError, SafetensorError) as error:  # e.g. a full disk, or no permission
            self._close(f"cannot write ({error})")

    def _close(self, why: str) -> None:
        self.closed = True
        logging.warning(
            "%s: %s; clips that are not cached yet are encoded every time", self.shards.folder, why
        )


def write_shard(folder: Path, space: str, clips: Mapping[str, ClipStates]) -> Path:
    """Writes clips to a new shard, atomically; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    with torch.autocast("cpu", enabled=False):  # autocast has no float16 cat on the CPU
        columns = [torch.cat(column) for column in zip(*clips.values(), strict=True)]
    tensors = dict(zip(ClipStates._fields, columns, strict=True))
    tensors["windows"] = torch.tensor([len(clip.valid) for clip in clips.values()])
    facts = {
        "format": FORMAT,
        "space": space,
        "keys": json.dumps(list(clips)),
        "crc": json.dumps([_crc(clip.states) for clip in clips.values()]),
    }
    path = folder / f"{uuid.uuid4().hex}{SUFFIX}"
    write_tensors(tensors, path, facts)
    return path


def bytes_below(root: Path) -> int:
    """Total size in bytes of all shards below a folder."""
    total = 0
    for path in root.rglob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
            total += path.stat().st_size
    return total


def gb(count: float) -> str:
    """Formats a number of bytes in decimal units."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


class _DamagedError(Exception):
    """Checksum mismatch in a clip's data."""


class _Shard:
    """An open shard; clip offsets are computed from the stored window counts."""

    def __init__(self, path: Path) -> None:
        self._file = safe_open(path, "pt")
        facts = self._file.metadata()
        self._number = {key: i for i, key in enumerate(json.loads(facts["keys"]))}
        self._crc = json.loads(facts["crc"])
        self._valid, self._frames = (self._file.get_tensor(n) for n in ("valid", "frames"))
        counts = self._file.get_tensor("windows").tolist()
        self._windows = list(pairwise(accumulate(counts, initial=0)))
        tokens = [int(part.sum()) for part in self._valid.split(counts)]
        self._tokens = list(pairwise(accumulate(tokens, initial=0)))

    def clip(self, key: str, sizes_only: bool) -> ClipStates:
        number = self._number[key]
        window, token = slice(*self._windows[number]), self._tokens[number]
        first, last = (0, 0) if sizes_only else token
        states = self._file.get_slice("states")[first:last]
        if not sizes_only and _crc(states) != self._crc[number]:
            raise _DamagedError("checksum mismatch")
        return ClipStates(states, self._valid[window].clone(), self._frames[window].clone())


@lru_cache(maxsize=64)
def _open(path: Path) -> _Shard:
    return _Shard(path)


def _crc(states: Tensor) -> int:
    return zlib.crc32(states.contiguous().view(-1).view(torch.uint8).numpy())


def _remove_stale(folder: Path) -> None:
    """Removes partial files of processes that were killed long ago."""
    for path in folder.glob(f".*{SUFFIX}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink()
