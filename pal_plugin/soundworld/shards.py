"""Scenes written as WebDataset shards into a cache, once.

The folder's name carries a digest of everything that decides its content, so a changed parameter
means another folder and never a stale clip. A shard is written under a temporary name and renamed
when it is whole; the index comes last and marks the folder as complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from pal_plugin.soundworld.events import LABELS, SAMPLE_RATE_HZ
from pal_plugin.soundworld.questions import items
from pal_plugin.soundworld.render import render
from pal_plugin.soundworld.seeds import SPLITS, split_scene
from pal_plugin.utils.files import replacing
from pal_plugin.utils.made_clips import add_clip, is_made, make

VERSION = 4  # raise it when the same seed gives other clips or other questions than before
SHARD_CLIPS = 100


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


def write_shard(job: dict, tick: Callable[[int], None]) -> Path:
    """A shard, unless it is there; `tick(n)` is told of every n clips done.

    Args:
        job: `path`, `split`, `seed`, and the numbers of its clips, from `first` to before `end`.
    """
    path = Path(job["path"])
    if path.exists():
        tick(job["end"] - job["first"])
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path) as partial,
        tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for index in range(job["first"], job["end"]):
            audio, record = clip_record(job["split"], job["seed"], index)
            add_clip(tar, audio, record)
            tick(1)
    return path


def shard_jobs(cache_dir: str | Path, split: str, clips: int, seed: int) -> list[dict]:
    """The jobs of `write_shard` that make the split."""
    folder = shard_folder(cache_dir, split, clips, seed)
    return [
        {
            "path": str(folder / f"{split}-{number:05d}.tar"),
            "split": split,
            "seed": seed,
            "first": first,
            "end": min(first + SHARD_CLIPS, clips),
        }
        for number, first in enumerate(range(0, clips, SHARD_CLIPS))
    ]


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
        progress: whether to show a bar with rate and remaining time, or lines of the log.

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
    jobs = shard_jobs(cache_dir, split, clips, seed)
    paths = [Path(job["path"]) for job in jobs]
    if not is_made(paths):
        content = {**_parameters(split, clips, seed), "shards": [path.name for path in paths]}
        bar = {"label": f"sound world: {split}", "clips": clips, "progress": progress}
        make(write_shard, jobs, paths[0].parent, content, workers=workers, **bar)
    return paths
