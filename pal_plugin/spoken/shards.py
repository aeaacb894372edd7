"""Renders spoken clips to WebDataset shards in a cache, once.

Design choice: the folder name contains a digest of everything that determines its content, so other
settings give another folder. Each shard is synthesized in order by a fresh process and written
atomically; the index comes last and marks the folder as complete.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pal_plugin.spoken.clips import Clip, draw_clip, facts, items, render
from pal_plugin.spoken.effects import SAMPLE_RATE_HZ, one_thread
from pal_plugin.spoken.settings import Settings
from pal_plugin.spoken.synthesis import check_installed, speak
from pal_plugin.spoken.texts import digest
from pal_plugin.spoken.voices import voices
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import replacing
from pal_plugin.utils.made_clips import add_clip, is_made, make

VERSION = 1  # increment when the same settings yield different clips
SHARD_CLIPS = 100


def parameters(split: str, clips: int, seed: int, settings: Settings) -> dict[str, Any]:
    """All that determines the content of a split's shards, except the synthesizer's version."""
    return {
        "version": VERSION,
        "split": split,
        "clips": clips,
        "seed": seed,
        "shard_clips": SHARD_CLIPS,
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "texts": digest(),
        "voices": voices(split),
        **asdict(settings),
    }


def shard_folder(
    cache_dir: str | Path, split: str, clips: int, seed: int, settings: Settings
) -> Path:
    """The folder of the shards with these settings."""
    text = json.dumps(parameters(split, clips, seed, settings), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:8]
    return Path(cache_dir) / f"spoken-{split}-{clips}-seed{seed}-{name}"


def rendered(
    split: str, seed: int, first: int, end: int, settings: Settings
) -> list[tuple[Clip, bytes, float]]:
    """Clips `first` to `end` (exclusive), by one synthesizer process: clip, FLAC bytes, seconds."""
    import soundfile  # lazy: texts and voices do not need libsndfile

    clips = [draw_clip(split, seed, index, settings) for index in range(first, end)]
    said, rate_hz = speak([utterance for clip in clips for utterance in clip.utterances()])
    done = []
    for clip in clips:
        count = len(clip.utterances())
        mine, said = said[:count], said[count:]
        with one_thread():
            audio = render(clip, mine, rate_hz)
        file = io.BytesIO()
        soundfile.write(file, audio, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        done.append((clip, file.getvalue(), len(audio) / SAMPLE_RATE_HZ))
    return done


def write_shard(job: dict[str, Any], tick: Callable[[int], None]) -> None:
    """Writes a shard, unless it exists.

    Args:
        job: `path`, `split`, `seed`, `settings`, and the range of its clips, `first` to `end`
            (exclusive).
        tick: progress callback, called with the number of clips done.
    """
    path, split, seed, first = Path(job["path"]), job["split"], job["seed"], job["first"]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        clips = rendered(split, seed, first, job["end"], Settings(**job["settings"]))
        with (
            replacing(path) as partial,
            tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for index, (clip, audio, seconds) in enumerate(clips, first):
                name = f"{split}_{seed}_{index:06d}"
                record = {"id": name, "split": split, "seconds": seconds, **facts(clip)}
                record["items"] = items(clip)
                add_clip(tar, audio, record)
    tick(job["end"] - first)


def shard_jobs(
    cache_dir: str | Path, split: str, clips: int, seed: int, settings: Settings
) -> list[dict[str, Any]]:
    """The jobs of `write_shard` for a split."""
    folder = shard_folder(cache_dir, split, clips, seed, settings)
    return [
        {
            "path": str(folder / f"{split}-{number:05d}.tar"),
            "split": split,
            "seed": seed,
            "settings": asdict(settings),
            "first": first,
            "end": min(first + SHARD_CLIPS, clips),
        }
        for number, first in enumerate(range(0, clips, SHARD_CLIPS))
    ]


def ensure_shards(
    cache_dir: str | Path,
    split: str,
    clips: int,
    seed: int,
    settings: Settings,
    workers: int | None = None,
    progress: bool = True,
) -> list[Path]:
    """The shards of a split; renders them unless they are complete in the cache.

    Args:
        cache_dir: parent of the shards' folder.
        split: "train", "val" or "test".
        clips: number of clips, at least 1.
        seed: different seeds give different clips.
        settings: the split's settings.
        workers: number of processes (default: one per core, at most one per shard).
        progress: show a progress bar, or log lines.

    Returns:
        Paths of the tar files in order; each clip is `<id>.flac` and `<id>.json`.

    Raises:
        ConfigError: if there is less than 1 clip, or espeak-ng is needed but not installed.
        RuntimeError: if a worker fails; with its error.
    """
    if clips < 1:
        raise ConfigError(f"expected at least 1 clip in {split}, got {clips}")
    jobs = shard_jobs(cache_dir, split, clips, seed, settings)
    paths = [Path(job["path"]) for job in jobs]
    if is_made(paths):
        return paths
    check_installed()
    content = {
        **parameters(split, clips, seed, settings),
        "synthesiser": f"espeakng-loader {version('espeakng-loader')}",
        "shards": [path.name for path in paths],
    }
    bar = {"label": f"spoken: {split}", "clips": clips, "progress": progress}
    make(write_shard, jobs, paths[0].parent, content, workers=workers, **bar)
    return paths
