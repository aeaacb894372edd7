"""Fingerprints of files: hashes, or size and modification time of very large ones.

A resumed evaluation must use the files that it began with; `evaluation.json` lists them.
"""

from __future__ import annotations

import glob
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from webdataset.shardlists import expand_urls

from pal_plugin.corpora.shards.convert import INDEX
from pal_plugin.utils.files import file_sha256
from pal_plugin.utils.hub import is_hub_id
from pal_plugin.utils.locations import resolve

#: Larger files are identified by size and modification time.
_LARGEST_BYTES = 4 * 2**30
#: Files of a model folder that are hashed: weights, configuration and tokenizer.
_MODEL_FILES = (".safetensors", ".bin", ".pt", ".pth", ".json", ".model", ".txt", ".jinja")


def file_facts(path: Path | None) -> dict[str, Any] | None:
    """Path and SHA-256 of a file (size and time of a very large one); None: no such file."""
    if path is None or not path.is_file():
        return None
    facts = path.stat()
    if facts.st_size > _LARGEST_BYTES:
        return {"path": str(path), **_size_and_time(path)}
    return {"path": str(path), "sha256": _sha256(str(path), facts.st_size, facts.st_mtime_ns)}


def files_named(value: Any) -> dict[str, Any]:
    """Fingerprints of all files named in plain settings, by name: annotations, models, shards.

    Shards are identified by the `index.json` next to them, which has their hashes; without one by
    size and time of each tar. A folder of neither shards nor weights (audio) is not listed, nor is
    the input of a `pipe:` command.
    """
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return {k: v for part in inner for k, v in files_named(part).items()}
    if isinstance(value, str) and "\n" not in value and 0 < len(value) < 1024:
        try:
            facts = _facts_of(value)
        except OSError:  # not a valid path
            return {}
        return {value: facts} if facts else {}
    return {}


def model_facts(source: str) -> dict[str, Any]:
    """Source of weights (a file, folder or hub id), with hashes or the hub revision."""
    path = Path(resolve(source)).expanduser()
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in _MODEL_FILES and f.is_file())
        return {"source": source, "files": {f.name: file_facts(f) for f in files}}
    if not path.exists() and is_hub_id(source):
        cached = try_to_load_from_cache(source, "config.json")
        known = isinstance(cached, str)
        return {"source": source, "revision": Path(cached).parent.name if known else None}
    return {"source": source, **(file_facts(path) or {})}


def _facts_of(name: str) -> dict[str, Any] | None:
    if name.startswith("pocket://"):
        return model_facts(name)
    if ":" in name.partition("/")[0]:  # pipe:..., s3://
        return None
    path = Path(name).expanduser()
    if path.is_dir():
        tars = sorted(path.glob("[!.]*.tar"))
        if tars or (path / INDEX).is_file():
            return _shard_facts(tars, [path])
        return model_facts(name) if (path / "config.json").is_file() else None
    if not any(c in name for c in "{*?["):
        return _shard_facts([path], [path.parent]) if path.suffix == ".tar" else file_facts(path)
    tars = [
        Path(found)
        for one in expand_urls(str(path))
        for found in (sorted(glob.glob(one)) if any(c in one for c in "*?[") else [one])
    ]
    return _shard_facts(tars, sorted({tar.parent for tar in tars}))


def _shard_facts(tars: list[Path], folders: list[Path]) -> dict[str, Any] | None:
    """Hashes of the folders' indexes; size and time of tars in folders without an index."""
    indexes = {str(folder / INDEX): file_facts(folder / INDEX) for folder in folders}
    loose = [tar for tar in tars if not indexes.get(str(tar.parent / INDEX)) and tar.is_file()]
    found = {name: facts["sha256"] for name, facts in indexes.items() if facts}
    found |= {str(tar): _size_and_time(tar) for tar in loose}
    return found or None


def _size_and_time(path: Path) -> dict[str, int]:
    facts = path.stat()
    return {"bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}


@lru_cache(maxsize=1024)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    return file_sha256(Path(path))
