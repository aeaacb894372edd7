"""Background recordings to mix with clips.

Design choice: faulty backgrounds raise ConfigError, not AudioError. Training skips clips that raise
AudioError; a broken background must not cost the clip.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from pal_plugin.audio.extensions import AUDIO_EXTENSIONS, is_audio
from pal_plugin.audio.io import AudioError, load_audio, resample
from pal_plugin.utils.errors import ConfigError


class Backgrounds:
    """Random excerpts of a set of recordings.

    Args:
        source: a folder, searched recursively for audio files, or a list of files with any
            extension, in any order.
        loop: loop recordings shorter than the excerpt; otherwise pad them with silence.

    Raises:
        ConfigError: if there is no such folder or file, or no audio file.
    """

    def __init__(self, source: str | Path | Sequence[str | Path], loop: bool = True) -> None:
        self.loop = loop
        if isinstance(source, str | Path):
            folder = Path(source).expanduser()
            if not folder.is_dir():
                raise ConfigError(f"augment.mix: {folder} is not a folder; give a folder or a list")
            found = folder.rglob("*")
            files = [p for p in found if is_audio(p.name) and p.is_file()]
            where = f"the folder {folder} (extensions: {', '.join(AUDIO_EXTENSIONS)})"
        else:
            files, where = [Path(name).expanduser() for name in source], "the list"
            missing = [str(path) for path in files if not path.is_file()]
            if missing:
                raise ConfigError(f"augment.mix: no file {', '.join(missing)}")
        if not files:
            raise ConfigError(f"augment.mix: no audio files in {where}")
        # Sorted, so that a seed selects the same file on every machine.
        self.files = sorted(files)

    def excerpt(self, samples: int, rate_hz: int, rng: random.Random) -> Tensor:
        """A random excerpt `[samples]` of a random recording, resampled to `rate_hz`.

        Raises:
            ConfigError: if the recording cannot be decoded.
        """
        path = rng.choice(self.files)
        try:
            sound, own_hz = load_audio(path)
        except AudioError as error:
            raise ConfigError(f"augment.mix: {error}") from error
        # Crop before resampling: recordings may be much longer than clips.
        needed = -(-samples * own_hz // rate_hz)
        spare = len(sound) - needed
        if spare >= 0:
            start = rng.randint(0, spare)
            sound = sound[start : start + needed]
        sound = resample(sound, own_hz, rate_hz)[:samples]
        missing = samples - len(sound)
        if not missing:
            return sound
        if self.loop:
            start = rng.randrange(len(sound))
            return sound[(start + torch.arange(samples)) % len(sound)]
        front = rng.randint(0, missing)
        return torch.nn.functional.pad(sound, (front, missing - front))


def add_at_snr(clip: Tensor, other: Tensor, snr_db: float) -> Tensor:
    """`clip + other`, each `[S]`, with `other` scaled to `snr_db` below the clip's level.

    If either is silent, the ratio is undefined and the clip is returned unchanged.
    """
    wanted = clip.square().mean().sqrt() * 10 ** (-snr_db / 20)
    level = other.square().mean().sqrt()
    if wanted == 0 or level == 0:
        return clip
    return clip + other * (wanted / level)
