"""Atomic writes (files are complete or absent), hashes, and plain JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def jsonable(value: Any) -> Any:
    """`value` as JSON types: tensors and arrays become numbers or lists, NaN and infinity null."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [jsonable(v) for v in value]
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; the file is replaced atomically."""
    replace_text(path, json.dumps(jsonable(value), indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value per line; the file is replaced atomically."""
    replace_text(
        path, "".join(json.dumps(jsonable(row), ensure_ascii=False) + "\n" for row in rows)
    )


def read_jsonl(path: Path) -> list[Any]:
    """The values written by `write_jsonl`."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A path in a temporary folder to write to; afterwards its files are moved next to `path`.

    Further files in that folder (a checkpoint's JSON) are moved too, `path` itself last. If the
    block raises, nothing is moved.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".writing-") as folder:
        yield Path(folder) / path.name
        written = sorted(Path(folder).iterdir(), key=lambda file: file.name == path.name)
        for file in written:
            force_to_disk(file)
        for file in written:
            os.replace(file, path.parent / file.name)
        force_to_disk(path.parent)


def force_to_disk(path: Path) -> None:
    """fsync a file, or a folder's entries."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file to write to; it replaces `path` atomically when the block ends.

    If the block raises, `path` is unchanged. A killed process leaves `.NAME.PID.partial`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield temporary
        force_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file; it is replaced atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
