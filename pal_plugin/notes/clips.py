"""Renders notes to FLAC files in a cache, once.

The folder name contains a digest of everything that determines its content, including the
soundfont's bytes, so other settings give another folder. The index comes last and marks the folder
as complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pal_plugin.notes.phrases import LABELS, draw_phrase
from pal_plugin.notes.player import PLAYED_HZ, Player, check_installed
from pal_plugin.notes.recording import SAMPLE_RATE_HZ, recorded
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import file_sha256, replacing
from pal_plugin.utils.made_clips import is_made, make

VERSION = 1  # increment when the same settings yield different clips
SPLITS = ("train", "val", "test")
_JOB_CLIPS = 50


def render(player: Player, split: str, seed: int, index: int) -> np.ndarray:
    """Clip `index` of a split, float32 `[samples]` at 16 kHz; labels alternate."""
    rng = np.random.default_rng(
        np.random.SeedSequence(seed, spawn_key=(SPLITS.index(split), index))
    )
    phrase = draw_phrase(rng, LABELS[index % len(LABELS)])
    played = player.play(phrase, tail_s=float(rng.uniform(0.4, 1.5)))
    return recorded(rng, played, PLAYED_HZ, phrase.held)


def write_clips(job: dict[str, Any], tick: Callable[[int], None]) -> None:
    """Writes those clips of a job that do not exist yet.

    Args:
        job: `path` (the folder), `soundfont`, `split`, `seed`, and the range of its clips, `first`
            to `end` (exclusive).
        tick: progress callback, called with the number of clips done since the last call.
    """
    import soundfile  # lazy: synthesis does not need libsndfile

    player = Player(Path(job["soundfont"]))
    for index in range(job["first"], job["end"]):
        path = clip_path(Path(job["path"]), index)
        if not path.exists():
            sound = render(player, job["split"], job["seed"], index)
            with replacing(path) as partial:
                soundfile.write(partial, sound, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        tick(1)


def clip_path(folder: Path, index: int) -> Path:
    """Path of a clip."""
    name = LABELS[index % len(LABELS)].replace(" ", "_")
    return folder / f"{name}-{index:05d}.flac"


def ensure_clips(
    cache_dir: str | Path,
    soundfont: str | Path | None,
    split: str,
    clips: int,
    seed: int = 0,
    workers: int | None = None,
    progress: bool = True,
) -> list[tuple[Path, str]]:
    """The clips of a split with their labels; renders them unless they are complete in the cache.

    Args:
        cache_dir: parent of the clips' folder.
        soundfont: SF2 or SF3 file of General MIDI.
        split: "train", "val" or "test"; they share no draws, but the soundfont's samples.
        clips: number of clips, at least 1.
        seed: different seeds give different clips.
        workers: number of processes (default: one per core).
        progress: show a progress bar, or log lines.

    Raises:
        ConfigError: if soundfont or synthesizer are missing, the split is unknown, or there is less
            than 1 clip; says what to do.
        RuntimeError: if a worker fails; with its error.
    """
    if split not in SPLITS:
        raise ConfigError(f"unknown split {split!r}; known: {', '.join(SPLITS)}")
    if clips < 1:
        raise ConfigError(f"expected at least 1 clip in {split}, got {clips}")
    font = _soundfont(soundfont)
    facts = {
        "version": VERSION,
        "split": split,
        "clips": clips,
        "seed": seed,
        "soundfont": file_sha256(font),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(cache_dir) / f"notes-{split}-{clips}-seed{seed}-{digest}"
    found = [(clip_path(folder, i), LABELS[i % len(LABELS)]) for i in range(clips)]
    if is_made([path for path, _ in found]):
        return found
    check_installed()
    folder.mkdir(parents=True, exist_ok=True)
    job = {"path": str(folder), "soundfont": str(font), "split": split, "seed": seed}
    starts = range(0, clips, _JOB_CLIPS)
    jobs = [{**job, "first": i, "end": min(i + _JOB_CLIPS, clips)} for i in starts]
    bar = {"label": f"notes: {split}", "clips": clips, "progress": progress}
    make(write_clips, jobs, folder, facts, workers=workers, **bar)
    return found


def _soundfont(given: str | Path | None) -> Path:
    if given is None:
        raise ConfigError(
            "pal_notes needs a General MIDI soundfont (.sf2 or .sf3): set PAL_SOUNDFONT or "
            "build_info.soundfont. FluidR3_GM.sf2 has the MIT licence (Debian's and Ubuntu's "
            "package fluid-soundfont-gm installs it in /usr/share/sounds/sf2)"
        )
    path = Path(given).expanduser()
    if not path.is_file():
        raise ConfigError(f"build_info.soundfont: no file {path}")
    return path
