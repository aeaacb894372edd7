"""Encoder states on disk, by clip: a folder of safetensors shards that many processes read and add
to at the same time.

Design choice: a shard is written once, whole or not at all, under a name of its own, so nobody
needs a lock and nothing is ever changed. The index is what the shards' headers say; a process that
misses a clip looks whether the folder has changed since it read them. All valid tokens of a shard
are one tensor, so a clip is one slice of it.
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
#: A shard is written when so much waits, or when the first clip has waited so long.
SHARD_BYTES, WAIT_S = 64 * 2**20, 60.0
_STALE_S = 24 * 3600


class ClipStates(NamedTuple):
    """One clip: valid tokens of its windows one after the other, `[sum valid, D]`; valid tokens of
    each window, Long `[W]`; its feature frames, Long `[W]`."""

    states: Tensor
    valid: Tensor
    frames: Tensor

    def entry(self) -> dict[str, Tensor]:
        """As a clip's features are."""
        return {"states": self.states, "valid": self.valid, "frames": self.frames}

    @property
    def nbytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self)


class StateShards:
    """The shards of one folder, as a reader sees them; it can be sent to other processes.

    Args:
        folder: where they are; it need not exist.
        space: what made the states besides the clips. Shards of another one are left alone.
        sizes_only: `find` gives states `[0, D]`, for who only asks what is there.
    """

    def __init__(self, folder: Path, space: str, *, sizes_only: bool = False) -> None:
        self.folder, self.space, self.sizes_only = folder, space, sizes_only
        self._where: dict[str, Path] = {}
        self._seen: set[str] = set()
        self._changed_ns = -1

    def __contains__(self, key: str) -> bool:
        path = self._where.get(key)
        if path is not None and not path.exists():  # another process found it damaged
            self._forget(path, FileNotFoundError())
        if key not in self._where:
            self._look()
        return key in self._where

    def __len__(self) -> int:
        self._look()
        return len(self._where)

    def find(self, key: str) -> ClipStates | None:
        """The states of a clip, None where they are not there (any more) or damaged."""
        if key not in self:
            return None
        path = self._where[key]
        try:
            return _open(path).clip(key, self.sizes_only)
        except (OSError, SafetensorError, _DamagedError) as error:
            self._forget(path, error)
            return None

    def _look(self) -> None:
        """Read the headers of new shards, if there may be any."""
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
        # A shard that came in between may have left the same time: then it is looked at again.
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
            logging.warning("%s is no shard of these states and is not read; move it away", path)
            return
        self._where |= dict.fromkeys(json.loads(facts["keys"]), path)

    def _forget(self, path: Path, error: Exception) -> None:
        """Encode a shard's clips again; a damaged one is removed."""
        if not isinstance(error, FileNotFoundError):
            logging.warning("%s cannot be read (%s); its clips are encoded again", path, error)
        if not isinstance(error, OSError):  # which may be another's fault than the shard's
            path.unlink(missing_ok=True)
        self._where = {key: place for key, place in self._where.items() if place != path}


class ShardWriter:
    """Adds clips to a folder.

    Args:
        shards: what is there already.
        root: the cache's folder, which holds those of all encoders.
        limit_bytes: of all shards below `root`; what would exceed it is not written.
    """

    def __init__(self, shards: StateShards, root: Path, limit_bytes: float) -> None:
        self.shards, self.root, self.limit_bytes = shards, root, limit_bytes
        self.closed = False  # whether it has stopped writing, for want of space
        self._waiting: dict[str, ClipStates] = {}
        self._bytes, self._since = 0, 0.0

    def add(self, key: str, clip: ClipStates) -> None:
        """Keep a clip's states, on the CPU, unless they are there."""
        if self.closed or key in self._waiting or key in self.shards:
            return
        if not self._waiting:
            self._since = time.monotonic()
        # A copy: a part of a batch's states would keep all of them.
        self._waiting[key] = ClipStates(*(tensor.clone() for tensor in clip))
        self._bytes += clip.nbytes
        if self._bytes >= SHARD_BYTES or time.monotonic() - self._since >= WAIT_S:
            self.flush()

    def flush(self) -> None:
        """Write what waits. The limit, or a folder that takes no more, ends the writing alone."""
        waiting, size = self._waiting, self._bytes
        self._waiting, self._bytes = {}, 0
        if not waiting or self.closed:
            return
        if bytes_below(self.root) + size > self.limit_bytes:
            self._close(f"the limit of {gb(self.limit_bytes)} (limit_gb) is reached")
            return
        try:
            write_shard(self.shards.folder, self.shards.space, waiting)
        except (OSError, SafetensorError) as error:  # a full disk, or a folder that is another's
            self._close(f"it cannot be written to ({error})")

    def _close(self, why: str) -> None:
        self.closed = True
        logging.warning(
            "%s: %s; clips that are not there yet are encoded each time", self.shards.folder, why
        )


def write_shard(folder: Path, space: str, clips: Mapping[str, ClipStates]) -> Path:
    """One shard of these clips, whole or absent."""
    folder.mkdir(parents=True, exist_ok=True)
    _remove_stale(folder)
    with torch.autocast("cpu", enabled=False):  # which has no cat of float16
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
    """Bytes of all shards below a folder."""
    total = 0
    for path in root.rglob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):  # removed since
            total += path.stat().st_size
    return total


def gb(count: float) -> str:
    """Bytes for people, in decimal units as disks are sold."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"


class _DamagedError(Exception):
    """A clip's bytes are not those that were written."""


class _Shard:
    """An open shard; the clips' places in it follow from what is stored of their windows."""

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
            raise _DamagedError("a checksum differs")
        return ClipStates(states, self._valid[window].clone(), self._frames[window].clone())


@lru_cache(maxsize=64)
def _open(path: Path) -> _Shard:
    return _Shard(path)


def _crc(states: Tensor) -> int:
    return zlib.crc32(states.contiguous().view(-1).view(torch.uint8).numpy())


def _remove_stale(folder: Path) -> None:
    """Remove what processes that were killed long ago had begun to write."""
    for path in folder.glob(f".*{SUFFIX}.*.partial"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink()
