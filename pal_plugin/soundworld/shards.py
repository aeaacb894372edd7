"""Renders scenes to WebDataset shards in a cache, once.

The folder name contains a digest of everything that determines its content, so changed parameters
give another folder, never stale clips. Shards are written atomically; the index comes last and
marks the folder as complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from pal_plugin.soundworld.events import LABELS, SAMPLE_RATE_HZ, Scene
from pal_plugin.soundworld.questions import items
from pal_plugin.soundworld.render import render
from pal_plugin.soundworld.seeds import SPLITS, split_scene
from pal_plugin.soundworld.talks import split_talk
from pal_plugin.utils.files import replacing
from pal_plugin.utils.made_clips import add_clip, is_made, make

VERSION = 4  # increment when the same seed yields different clips or questions
TALKS_VERSION = 1
SHARD_CLIPS = 100
#: What a sample is: a scene with questions, or a conversation about several.
CONTENTS = ("soundworld", "soundworld_talks")


def clip_record(split: str, seed: int, index: int) -> tuple[bytes, dict]:
    """One clip: FLAC bytes (16 kHz mono) and its metadata (the shard's JSON)."""
    scene, rng = split_scene(split, seed, index)
    record = {
        "id": f"{split}_{seed}_{index:06d}",
        "split": split,
        **_facts(scene),
        "items": items(scene, rng),
    }
    return _flac(scene), record


def talk_record(split: str, seed: int, index: int) -> tuple[list[bytes], dict]:
    """One conversation: FLAC bytes of its clips and their metadata."""
    scenes, item = split_talk(split, seed, index)
    record = {
        "id": f"talk_{split}_{seed}_{index:06d}",
        "split": split,
        "clips": [_facts(scene) for scene in scenes],
        "items": [item],
    }
    return [_flac(scene) for scene in scenes], record


def _flac(scene: Scene) -> bytes:
    import soundfile  # lazy: texts and waveforms do not need libsndfile

    audio = io.BytesIO()
    soundfile.write(audio, render(scene), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return audio.getvalue()


def _facts(scene: Scene) -> dict:
    return {
        "seconds": scene.seconds,
        "label": scene.label,
        "layout": scene.layout,
        "noise_db": scene.noise_db,
        "events": [event.as_dict() for event in scene.events],
    }


def _parameters(split: str, clips: int, seed: int, content: str) -> dict:
    talks = {"talks": TALKS_VERSION} if content == "soundworld_talks" else {}
    return {
        **talks,
        "version": VERSION,
        "split": split,
        "clips": clips,
        "seed": seed,
        "shard_clips": SHARD_CLIPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "labels": LABELS,
    }


def shard_folder(
    cache_dir: str | Path, split: str, clips: int, seed: int, content: str = "soundworld"
) -> Path:
    """The folder of the shards with these parameters."""
    text = json.dumps(_parameters(split, clips, seed, content), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path(cache_dir) / f"{content}-{split}-{clips}-seed{seed}-{digest}"


def write_shard(job: dict, tick: Callable[[int], None]) -> Path:
    """Writes a shard, unless it exists.

    Args:
        job: `path`, `content`, `split`, `seed`, and the range of its samples, `first` to `end`
            (exclusive).
        tick: progress callback, called with the number of clips done since the last call.
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
            make_record = talk_record if job["content"] == "soundworld_talks" else clip_record
            audio, record = make_record(job["split"], job["seed"], index)
            add_clip(tar, audio, record)
            tick(1)
    return path


def shard_jobs(
    cache_dir: str | Path, split: str, clips: int, seed: int, content: str = "soundworld"
) -> list[dict]:
    """The jobs of `write_shard` for a split."""
    folder = shard_folder(cache_dir, split, clips, seed, content)
    return [
        {
            "path": str(folder / f"{split}-{number:05d}.tar"),
            "content": content,
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
    content: str = "soundworld",
) -> list[Path]:
    """The shards of a split; renders them unless they are complete in the cache.

    Args:
        cache_dir: parent of the shards' folder.
        split: "train", "val" or "test"; splits share no scene.
        clips: number of clips (of conversations), at least 1.
        seed: different seeds give different clips.
        workers: number of processes (default: one per core, at most one per shard).
        progress: show a progress bar, or log lines.
        content: one of `CONTENTS`.

    Returns:
        Paths of the tar files in order; each clip is `<id>.flac` and `<id>.json`, each conversation
        `<id>.0.flac`, `<id>.1.flac`, ... and `<id>.json`.

    Raises:
        ValueError: for an unknown split or content, or less than 1 clip.
        RuntimeError: if a worker fails; with its error.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if content not in CONTENTS:
        raise ValueError(f"unknown content {content!r}; known: {', '.join(CONTENTS)}")
    if clips < 1:
        raise ValueError(f"expected at least 1 clip, got {clips}")
    jobs = shard_jobs(cache_dir, split, clips, seed, content)
    paths = [Path(job["path"]) for job in jobs]
    if not is_made(paths):
        named = [path.name for path in paths]
        index = {**_parameters(split, clips, seed, content), "shards": named}
        what = "sound world" if content == "soundworld" else "conversations"
        bar = {"label": f"{what}: {split}", "clips": clips, "progress": progress}
        make(write_shard, jobs, paths[0].parent, index, workers=workers, **bar)
    return paths
