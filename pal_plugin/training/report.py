"""What a run leaves to read: JSON that any tool opens, and one table for the eye."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pal_plugin.datasets.collate import clips_of

# The figures of the table in order of preference, with whether a larger one is better.
HEADLINE = ("accuracy", "map", "wer", "loss")


def jsonable(value: Any) -> Any:
    """Plain JSON types: tensors and numpy values become numbers or lists, NaN becomes null."""
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


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; the file is replaced as a whole."""
    replace_text(path, json.dumps(jsonable(value), indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> None:
    """Write one JSON value per line; the file is replaced as a whole."""
    replace_text(
        path, "".join(json.dumps(jsonable(row), ensure_ascii=False) + "\n" for row in rows)
    )


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder; what is written there is moved beside `path`.

    Files written next to it (a checkpoint's JSON) are moved too, `path` itself last. If the block
    raises, nothing is moved.
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
    """Have a file, or a folder's list of names, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def mix_table(datasets: dict[str, Any], weights: dict[str, float]) -> str:
    """Training datasets with their clips and shares of the batches, as text."""
    rows = [("dataset", "clips", "share of batches")]
    for name, dataset in datasets.items():
        clips = clips_of(dataset)
        share = weights[name] / sum(weights.values())
        rows.append((name, "unknown" if clips is None else f"{clips:,}", f"{share:.1%}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {clips:>{widths[1]}}  {share:>{widths[2]}}"
        for name, clips, share in rows
    )


def table(metrics: dict[str, dict[str, dict]]) -> str:
    """`{split: {entry: figures}}` as aligned text: each figure beside masked audio and chance."""
    rows = [("split", "task", "figure", "value", "masked audio", "chance", "n")]
    for split, entries in metrics.items():
        for entry, figures in entries.items():
            name = next((f for f in HEADLINE if f in figures), None)
            if name is None:
                continue
            rows.append(
                (
                    split,
                    entry,
                    name,
                    _number(figures.get(name)),
                    _number(figures.get(f"{name}_masked_audio")),
                    _number(figures.get("chance")),
                    str(figures.get("n", "")),
                )
            )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def replace_text(path: Path, text: str) -> None:
    """Write a text file; it is replaced as a whole."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
