"""Generated clips in a folder: tar files, and an index that is written last."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pal_plugin.utils.files import replace_text
from pal_plugin.utils.runtime import progress_bar, usable_cores
from pal_plugin.utils.workers import run_jobs

INDEX = "index.json"


def is_made(paths: Sequence[Path]) -> bool:
    """Whether all files exist, and the index that marks their folder as complete."""
    return paths[0].with_name(INDEX).exists() and all(path.exists() for path in paths)


def make(
    write: Callable,
    jobs: Sequence[dict[str, Any]],
    folder: Path,
    content: dict[str, Any],
    *,
    clips: int,
    label: str,
    workers: int | None,
    progress: bool,
) -> None:
    """Run the jobs on several processes with a progress bar, then write the index.

    Args:
        write: `write(job, tick)`; skips existing files, and calls `tick(n)` after every n clips.
        jobs: see `run_jobs`.
        folder: of the index.
        content: of the index.
        clips: total, for the progress bar.
        label: of the progress bar.
        workers: processes; None: one per core.
        progress: whether to show a progress bar or log lines.

    Raises:
        RuntimeError: a worker failed; contains its error.
    """
    with progress_bar(clips, label, "clip", shown=progress, lines=True) as bar:
        run_jobs(write, jobs, workers or usable_cores(), bar.update)
    replace_text(folder / INDEX, json.dumps(content, indent=1) + "\n")


def add_clip(tar: tarfile.TarFile, flac: bytes | Sequence[bytes], record: dict[str, Any]) -> None:
    """Add a clip, named by the `id` of its record: `ID.flac` and `ID.json`; several clips of one
    sample are `ID.0.flac`, `ID.1.flac`, ..."""
    text = json.dumps(record, separators=(",", ":")).encode()
    clips = [("flac", flac)] if isinstance(flac, bytes) else []
    clips = clips or [(f"{number}.flac", data) for number, data in enumerate(flac)]
    for suffix, data in (*clips, ("json", text)):
        member = tarfile.TarInfo(f"{record['id']}.{suffix}")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
