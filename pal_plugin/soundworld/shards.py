"""Scenes written as WebDataset shards into a cache, once.

The folder's name carries a digest of everything that decides its content, so a changed parameter
means another folder and never a stale clip. A shard is written under a temporary name and renamed
when it is whole; the index comes last and marks the folder as complete. Workers are plain
subprocesses of this module's command, so it also works from a notebook or a script without a
`__main__` guard.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from pal_plugin.soundworld.events import LABELS, SAMPLE_RATE_HZ
from pal_plugin.soundworld.questions import items
from pal_plugin.soundworld.render import render
from pal_plugin.soundworld.seeds import SPLITS, split_scene
from pal_plugin.utils.runtime import usable_cores

VERSION = 4  # raise it when the same seed gives other clips or other questions than before
SHARD_CLIPS = 100
INDEX = "index.json"


def clip_record(split: str, seed: int, index: int) -> tuple[bytes, dict]:
    """One clip: FLAC bytes (16 kHz mono) and what is known about it (the shard's JSON)."""
    import soundfile  # not above: the world's texts and waves need no libsndfile

    scene, rng = split_scene(split, seed, index)
    audio = io.BytesIO()
    soundfile.write(audio, render(scene), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    record = {
        "id": f"{split}_{seed}_{index:06d}",
        "split": split,
        "seconds": scene.seconds,
        "label": scene.label,
        "layout": scene.layout,
        "noise_db": scene.noise_db,
        "events": [event.as_dict() for event in scene.events],
        "items": items(scene, rng),
    }
    return audio.getvalue(), record


def _parameters(split: str, clips: int, seed: int) -> dict:
    return {
        "version": VERSION,
        "split": split,
        "clips": clips,
        "seed": seed,
        "shard_clips": SHARD_CLIPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": LABELS,
    }


def shard_folder(cache_dir: str | Path, split: str, clips: int, seed: int) -> Path:
    """Where the shards with these parameters live."""
    text = json.dumps(_parameters(split, clips, seed), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path(cache_dir) / f"soundworld-{split}-{clips}-seed{seed}-{digest}"


def _shard_name(split: str, number: int) -> str:
    return f"{split}-{number:05d}.tar"


def write_shard(
    folder: Path, split: str, clips: int, seed: int, number: int, tick: Callable[[int], None]
) -> Path:
    """Shard `number` of the split, unless it is there; `tick(n)` is told of every n clips done."""
    path = folder / _shard_name(split, number)
    first = number * SHARD_CLIPS
    last = min(first + SHARD_CLIPS, clips)
    if path.exists():
        tick(last - first)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{path.name}.{os.getpid()}.partial"
    try:
        with tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar:
            for index in range(first, last):
                audio, record = clip_record(split, seed, index)
                text = json.dumps(record, separators=(",", ":")).encode()
                for suffix, data in (("flac", audio), ("json", text)):
                    member = tarfile.TarInfo(f"{record['id']}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                tick(1)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _worker_command(folder: Path, split: str, clips: int, seed: int, numbers: list[int]) -> list:
    return [
        sys.executable,
        "-m",
        "pal_plugin.soundworld.worker",
        *(str(folder), split, str(clips), str(seed)),
        ",".join(map(str, numbers)),
    ]


def _run_worker(command: list[str], tick: Callable[[int], None]) -> None:
    package_root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "PAL_PLUGIN_CORE_ONLY": "1",  # importing LAVIS takes longer than writing a shard
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            for line in process.stdout:
                if line.startswith("done "):
                    tick(int(line.split()[1]))
            errors = process.stderr.read()
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(
            f"a sound world worker ended with status {process.returncode}: {' '.join(command)}\n"
            f"{errors[-3000:]}"
        )


def ensure_shards(
    cache_dir: str | Path,
    split: str,
    clips: int,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """The shards of a split, written now or found complete in the cache.

    Args:
        cache_dir: folder under which the shards' own folder is made.
        split: "train", "val" or "test"; the splits share no scene.
        clips: number of clips, at least 1.
        seed: another seed, another set of clips.
        workers: processes that write (default: one a core, at most one a shard).
        progress: whether to show a bar with rate and remaining time.

    Returns:
        Paths of the tars in order; each clip is `<id>.flac` and `<id>.json`.

    Raises:
        ValueError: for an unknown split or a number of clips below 1.
        RuntimeError: with the worker's error, if one fails.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; the sound world has: {', '.join(SPLITS)}")
    if clips < 1:
        raise ValueError(f"expected at least 1 clip, got {clips}")
    folder = shard_folder(cache_dir, split, clips, seed)
    numbers = list(range(-(-clips // SHARD_CLIPS)))
    paths = [folder / _shard_name(split, number) for number in numbers]
    if (folder / INDEX).exists() and all(path.exists() for path in paths):
        return paths

    workers = min(workers or usable_cores(), len(numbers))
    with tqdm(total=clips, desc=f"sound world: {split}", unit="clip", disable=not progress) as bar:
        if workers <= 1:
            for number in numbers:
                write_shard(folder, split, clips, seed, number, bar.update)
        else:
            with ThreadPoolExecutor(workers) as pool:
                jobs = [
                    pool.submit(
                        _run_worker,
                        _worker_command(folder, split, clips, seed, numbers[i::workers]),
                        bar.update,
                    )
                    for i in range(workers)
                ]
                for job in jobs:
                    job.result()
    index = {**_parameters(split, clips, seed), "shards": [path.name for path in paths]}
    partial = folder / f".{INDEX}.{os.getpid()}.partial"
    partial.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, folder / INDEX)
    return paths
