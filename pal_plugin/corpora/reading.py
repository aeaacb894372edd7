"""Reading shards again: which there are, and their clips one by one, with what is wrong named.

Design choice: WebDataset's own reader does the reading, so shards may be anywhere it can read from
(`pipe:` commands for object stores too); its errors are turned into entries, so that a caller
decides whether to go on.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import webdataset as wds
from webdataset.shardlists import expand_urls

from pal_plugin.corpora.convert import INDEX, read_index
from pal_plugin.corpora.locate import AUDIO_EXTENSIONS
from pal_plugin.errors import ConfigError

#: Lists of an index: clips of the annotations that are not in the shards.
LEFT_OUT = ("missing", "broken", "too_short", "problems")


@dataclass(frozen=True)
class Shards:
    """Shards and what their index says.

    Attributes:
        urls: paths, or what else WebDataset opens.
        counts: clips in each, where an index says so.
        index: of the folder, None where there is none.
    """

    urls: list[str]
    counts: dict[str, int]
    index: dict[str, Any] | None = None

    @property
    def clips(self) -> int | None:
        """Clips in all shards, None where it is not known of each."""
        if set(self.urls) <= set(self.counts):
            return sum(self.counts[url] for url in self.urls)
        return (self.index or {}).get("clips")


def find_shards(source: str | Path | Sequence[str | Path]) -> Shards:
    """The shards that a path, a pattern or a command stands for.

    Args:
        source: a folder (with an index: what it lists), a tar, a pattern with `{00..09}` or `*`,
            a `pipe:` command (with `{00..09}` for several), or a list of these.

    Raises:
        ConfigError: nothing is there.
    """
    if isinstance(source, list | tuple):
        parts = [find_shards(entry) for entry in source]
        counts = {url: n for part in parts for url, n in part.counts.items()}
        index = parts[0].index if len(parts) == 1 else _joined([part.index for part in parts])
        return Shards([url for part in parts for url in part.urls], counts, index)
    text = str(source)
    if ":" in text.partition("/")[0]:  # pipe:..., s3://, http:// and so on
        return Shards(expand_urls(text), {})
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path)
    urls = []
    for one in expand_urls(str(path)):
        urls += sorted(glob.glob(one)) if any(c in one for c in "*?[") else [one]
    if not urls or not any(Path(url).is_file() for url in urls):
        raise ConfigError(
            f"no shards at {source}; expected a folder written by pal data convert, a tar, a "
            "pattern such as 'train-{00000..00009}.tar', or 'pipe:COMMAND'"
        )
    folders = {Path(url).parent for url in urls}
    known: dict[str, int] = {}
    for folder in folders:
        if (folder / INDEX).is_file():
            entries = read_index(folder).get("shards", [])
            known.update(
                {str(folder / e["name"]): e["clips"] for e in entries if isinstance(e, dict)}
            )
    return Shards(urls, {url: known[url] for url in urls if url in known})


def read_shard(url: str) -> Iterator[dict[str, Any]]:
    """Raw samples of one shard, `{"__key__", "__url__", extension: bytes}`.

    What cannot be read comes as `{"__key__", "__url__", "__error__": reason}`, at its place.
    """
    errors: list[Exception] = []

    def keep(error: Exception) -> bool:
        errors.append(error)
        return True

    key = "the shard"
    for sample in wds.tarfile_to_samples(handler=keep)([{"url": url}]):
        key = f"behind {sample['__key__']}"
        yield sample
    if errors:  # the first; what follows comes of it
        reason = str(errors[0].args[0] if errors[0].args else errors[0]).split(" @ <")[0]
        if isinstance(errors[0], FileNotFoundError):
            reason = "no such file"
        yield {"__key__": key, "__url__": url, "__error__": reason}


def parse(raw: dict[str, Any]) -> tuple[str, bytes, dict[str, Any]]:
    """`(extension, audio, facts)` of a raw sample.

    Raises:
        ValueError: no audio, no JSON, or JSON without items; the message says which.
    """
    if "__error__" in raw:
        raise ValueError(raw["__error__"])
    extension = next((name for name in AUDIO_EXTENSIONS if name in raw), None)
    if extension is None or "json" not in raw:
        have = ", ".join(name for name in raw if not name.startswith("_")) or "nothing"
        raise ValueError(f"expected audio (such as wav, flac, ogg, mp3) and json, got {have}")
    try:
        facts = json.loads(raw["json"])
    except ValueError as error:
        raise ValueError(f"its json cannot be read: {error}") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("items"), list):
        raise ValueError("its json holds no list of items")
    return extension, raw[extension], facts


def _folder(path: Path) -> Shards:
    if (path / INDEX).is_file() or (path / "conversion.json").is_file():
        index = read_index(path)
        entries = [e if isinstance(e, dict) else {"name": e} for e in index["shards"]]
        counts = {str(path / e["name"]): e["clips"] for e in entries if "clips" in e}
        return Shards([str(path / e["name"]) for e in entries], counts, index)
    tars = sorted(map(str, path.glob("*.tar")))
    if not tars:
        raise ConfigError(f"no shards in {path}; expected *.tar or an {INDEX}")
    return Shards(tars, {})


def _joined(indices: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """What indices of several folders say together: labels, and what was left out."""
    if any(index is None for index in indices):
        return None
    labels = [label for index in indices for label in index.get("labels") or []]
    left_out = {
        kind: [entry for index in indices for entry in index.get(kind, [])] for kind in LEFT_OUT
    }
    return {"labels": list(dict.fromkeys(labels)) or None, **left_out}
