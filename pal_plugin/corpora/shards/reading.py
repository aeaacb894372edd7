"""Reads shards: resolves their locations and iterates over their samples, errors included.

Design choice: WebDataset does the reading, so shards may be anywhere it reads from (including
`pipe:` commands for object stores); its errors become entries, so that the caller decides
whether to continue.
"""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from pal_plugin.audio.extensions import AUDIO_EXTENSIONS
from pal_plugin.corpora.items import checked_items
from pal_plugin.corpora.shards.convert import INDEX, REQUEST, read_index
from pal_plugin.corpora.tables import each_key_once
from pal_plugin.corpora.texts import one_form, text_fault
from pal_plugin.utils.errors import ConfigError

#: Lists in an index of clips that are annotated but not in the shards.
LEFT_OUT = ("missing", "broken", "too_short", "problems")
#: Audio of a conversation: the number of the clip, and its extension.
_NUMBERED = re.compile(rf"(\d+)\.({'|'.join(AUDIO_EXTENSIONS)})")


@dataclass(frozen=True)
class Shards:
    """A set of shards and their indices.

    Attributes:
        urls: paths, or other URLs that WebDataset opens.
        indices: parsed `index.json` by folder, where present.
    """

    urls: list[str]
    indices: dict[str, dict[str, Any]] = field(default_factory=dict)

    def index_of(self, url: str) -> dict[str, Any] | None:
        """The index of the folder that holds a shard; None if there is none."""
        return self.indices.get(str(Path(url).parent))

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """Index entries by URL of the listed shards: the name and, from `convert`, more."""
        known = {
            str(Path(folder, entry["name"])): entry
            for folder, index in self.indices.items()
            for entry in index["shards"]
        }
        return {url: known[url] for url in self.urls if url in known}

    @property
    def counts(self) -> dict[str, int]:
        """Number of samples (clips, or conversations) by URL, where an index gives it."""
        entries = self.entries.items()
        return {url: _samples(entry) for url, entry in entries if "clips" in entry}

    @property
    def index(self) -> dict[str, Any] | None:
        """The index; several are merged into one with labels and left-out clips.

        Labels are None unless known for every shard. None without any index.
        """
        indices = list(self.indices.values())
        everywhere = all(self.index_of(url) is not None for url in self.urls)
        if not indices or (len(indices) == 1 and everywhere):
            return indices[0] if indices else None
        labels = dict.fromkeys(label for index in indices for label in index.get("labels") or [])
        return {
            "labels": list(labels) if labels and everywhere else None,
            **{kind: [e for index in indices for e in index.get(kind, [])] for kind in LEFT_OUT},
        }

    @property
    def clips(self) -> int | None:
        """Total number of samples; None unless known for every shard."""
        counts = self.counts
        if set(self.urls) <= counts.keys():
            return sum(counts[url] for url in self.urls)
        index = self.index or {}
        whole = len(index.get("shards", ())) == len(self.urls)
        return _samples(index) if whole else None  # an index that only counts the folder

    @property
    def audio_clips(self) -> int | None:
        """Total number of clips of audio, several for a conversation; None unless an index counts
        them in every shard."""
        counts = [self.entries.get(url, {}).get("clips") for url in self.urls]
        return None if None in counts else sum(counts)


def _samples(entry: dict[str, Any]) -> int | None:
    return entry.get("samples", entry.get("clips"))


def find_shards(source: str | Path | Sequence[str | Path]) -> Shards:
    """Resolves a path, pattern or command to shards and the indices next to them.

    Args:
        source: a folder (with an index: the shards it lists), a tar file, a pattern with `{00..09}`
            or `*` (with an index: includes listed shards that are missing), a `pipe:` command (with
            `{00..09}` for several), or a list of these.

    Raises:
        ConfigError: if no shards are found.
    """
    if isinstance(source, list | tuple):
        parts = [find_shards(entry) for entry in source]
        indices = {folder: index for part in parts for folder, index in part.indices.items()}
        return Shards([url for part in parts for url in part.urls], indices)
    text = str(source)
    if ":" in text.partition("/")[0]:  # pipe:..., s3://, http:// and so on
        return Shards(_expanded(text))
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path)
    urls: list[str] = []
    indices: dict[str, dict[str, Any]] = {}
    for pattern in map(Path, _expanded(str(path))):
        found = sorted(glob.glob(str(pattern))) if _is_glob(pattern) else [str(pattern)]
        folders = {Path(url).parent for url in found}
        if not _is_glob(pattern.parent):
            folders.add(pattern.parent)
        for folder in sorted(folders - set(map(Path, indices))):
            index = _index(folder)
            if index is not None:
                indices[str(folder)] = index
        if _is_glob(pattern):
            listed = {
                str(folder / entry["name"])
                for folder in folders
                for entry in indices.get(str(folder), {"shards": []})["shards"]
                if fnmatchcase(entry["name"], pattern.name)
            }
            found = sorted({*found, *listed})
        urls += found
    if not urls or not any(Path(url).is_file() for url in urls):
        raise ConfigError(
            f"no shards at {source}; expected a folder written by pal data convert, a tar file, "
            "a pattern such as 'train-{00000..00009}.tar', or 'pipe:COMMAND'"
        )
    return Shards(urls, indices)


def read_shard(url: str) -> Iterator[dict[str, Any]]:
    """Yields the raw samples of a shard, `{"__key__", "__url__", extension: bytes}`.

    Read errors are yielded in place, as `{"__key__", "__url__", "__error__": reason}`.
    """
    # Lazy: it imports torch, which is not needed to report missing shards.
    from webdataset.tariterators import group_by_keys, tar_file_expander, url_opener

    errors: list[Exception] = []

    def keep(error: Exception) -> bool:
        errors.append(error)
        return True

    key = "the shard"
    opened = list(url_opener([{"url": url}], handler=keep))
    with contextlib.ExitStack() as stack:
        for source in opened:
            stream = stack.enter_context(source["stream"])
            if hasattr(stream, "proc"):  # a pipe:
                # Otherwise webdataset drops the block just read if the command has failed by then.
                stream.ignore_errors = True
        files = tar_file_expander(opened, handler=keep, select_files=_is_member)
        for sample in group_by_keys(files, handler=keep):
            key = f"after {sample['__key__']}"
            yield sample
        if errors:  # report the first; later ones are its consequences
            reason = str(errors[0].args[0] if errors[0].args else errors[0]).split(" @ <")[0]
            if isinstance(errors[0], FileNotFoundError):
                reason = "no such file"
        else:
            reason = _wrong_at_the_end(opened[0]["stream"])
    if reason:
        yield {"__key__": key, "__url__": url, "__error__": reason}


def _is_member(name: str) -> bool:
    """Whether a member is a sample file, and not metadata that macOS adds to archives."""
    return not name.rpartition("/")[2].startswith(".") and "__MACOSX/" not in f"/{name}"


def _wrong_at_the_end(stream: Any) -> str | None:
    """The fault that follows an archive read without errors, e.g. trailing data; None if none."""
    while block := stream.read(2**20):
        if block.strip(b"\0"):
            return "data after the end of the archive (a shard is one tar; list several separately)"
    status = stream.proc.wait() if hasattr(stream, "proc") else 0
    if status and status not in stream.ignore_status:
        return f"command exited with code {status}"
    return None


def parts(raw: dict[str, Any]) -> tuple[bytes | tuple[bytes, ...], dict[str, Any]]:
    """Splits a raw sample into `(audio, facts)`; items are not validated.

    The audio of conversations (`clips` in the JSON) is a tuple of their clips, maybe of none.

    Raises:
        ValueError: if it lacks audio or JSON, the JSON has no list of items, or it has another
            number of clips than the sample; says which.
    """
    if "__error__" in raw:
        raise ValueError(raw["__error__"])
    extension = next((name for name in AUDIO_EXTENSIONS if name in raw), None)
    numbered = {int(found[1]): raw[name] for name in raw if (found := _NUMBERED.fullmatch(name))}
    have = ", ".join(name for name in raw if not name.startswith("_")) or "nothing"
    if "json" not in raw:
        raise ValueError(f"expected audio (e.g. wav, flac, ogg, mp3) and json, got {have}")
    try:
        facts = json.loads(raw["json"], object_pairs_hook=each_key_once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"cannot parse json: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("items"), list):
        raise ValueError("json has no list of items")
    if "clips" not in facts:
        if extension is None:
            raise ValueError(f"expected audio (e.g. wav, flac, ogg, mp3) and json, got {have}")
        return raw[extension], facts
    if not isinstance(facts["clips"], list):
        raise ValueError(f"json needs a list as clips, got {facts['clips']!r:.80}")
    count = len(facts["clips"])
    if extension is not None or sorted(numbered) != list(range(count)):
        raise ValueError(
            f"json has {count} clips, but the sample has {len(numbered)} audio files named by "
            f"their numbers, from 0 on: {have}"
        )
    return tuple(numbered[number] for number in range(count)), facts


def clips_in(facts: dict[str, Any]) -> int | None:
    """Number of clips of a sample of conversations; None for a single clip."""
    return len(facts["clips"]) if "clips" in facts else None


def parse(raw: dict[str, Any]) -> tuple[bytes | tuple[bytes, ...], dict[str, Any]]:
    """`parts`, with validated and normalized items (`items.checked_items`).

    Raises:
        ValueError: as `parts`, or if an item is invalid; says which and why.
    """
    audio, facts = parts(raw)
    return audio, {**facts, "items": checked_items(facts["items"], clips_in(facts))}


def _folder(path: Path) -> Shards:
    if (path / REQUEST).is_file():
        read_index(path)  # raises if the conversion is unfinished
    index = _index(path)
    tars = sorted(map(str, path.glob("[!.]*.tar")))
    if index is not None:
        urls = [str(path / entry["name"]) for entry in index["shards"]]
        others = [Path(tar).name for tar in tars if tar not in urls]
        if others:
            message = "%s does not list %d tar files (e.g. %s); ignoring them"
            logging.warning(message, path / INDEX, len(others), ", ".join(others[:3]))
        return Shards(urls, {str(path): index})
    if not tars:
        raise ConfigError(f"no shards in {path}; expected *.tar or an {INDEX}")
    return Shards(tars)


def _index(folder: Path) -> dict[str, Any] | None:
    """Reads the index in a folder; None if there is none, or it is another program's."""
    if not (folder / INDEX).is_file():
        if (folder / REQUEST).is_file():
            logging.warning(
                "the conversion in %s is unfinished; shards are not checked against it", folder
            )
        return None
    index = read_index(folder)
    entries = index.get("shards") if isinstance(index, dict) else None
    if isinstance(entries, list):
        entries = [{"name": entry} if isinstance(entry, str) else entry for entry in entries]
        if all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in entries):
            return {**index, "shards": entries, "labels": _labels(folder, index.get("labels"))}
    logging.warning("%s is not an index of shards; ignoring it", folder / INDEX)
    return None


def _labels(folder: Path, labels: Any) -> list[str] | None:
    """The labels of an index, normalized as in items."""
    if labels is None:
        return None
    faults = map(text_fault, labels) if isinstance(labels, list) else [f"got {labels!r:.80}"]
    for fault in filter(None, faults):
        raise ConfigError(f"{folder / INDEX}: expected a list of texts as labels, {fault}")
    return list(dict.fromkeys(map(one_form, labels)))


def _expanded(text: str) -> list[str]:
    """Expands `{00..09}` and `::`."""
    if "{" not in text and "::" not in text:
        return [text]
    from webdataset.shardlists import expand_urls

    return expand_urls(text)


def _is_glob(path: Path) -> bool:
    return glob.has_magic(str(path))
