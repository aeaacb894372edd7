"""Other recordings, to be heard behind a clip.

Design choice: what is wrong with them is a ConfigError and no AudioError. Training skips a clip
that cannot be decoded; a broken background is not the clip's fault and must not cost it.
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
        source: a folder, whose audio files are taken at any depth, or a list of files of any name.
            Their order does not matter.
        loop: a recording shorter than the excerpt is repeated; otherwise silence surrounds it.

    Raises:
        ConfigError: nothing there, no audio in the folder, an empty list or a missing file.
    """

    def __init__(self, source: str | Path | Sequence[str | Path], loop: bool = True) -> None:
        self.loop = loop
        if isinstance(source, str | Path):
            folder = Path(source).expanduser()
            if not folder.is_dir():
                raise ConfigError(f"augment.mix: {folder} is no folder; give a folder or a list")
            found = folder.rglob("*")
            files = [p for p in found if is_audio(p.name) and p.is_file()]
            where = f"the folder {folder} (it looks for {', '.join(AUDIO_EXTENSIONS)})"
        else:
            files, where = [Path(name).expanduser() for name in source], "the list"
            missing = [str(path) for path in files if not path.is_file()]
            if missing:
                raise ConfigError(f"augment.mix: no file {', '.join(missing)}")
        if not files:
            raise ConfigError(f"augment.mix: no audio file in {where}")
        # Sorted, so that a seed chooses the same file on every machine.
        self.files = sorted(files)

    def excerpt(self, samples: int, rate_hz: int, rng: random.Random) -> Tensor:
        """A random part `[samples]` at `rate_hz` of a random recording.

        Raises:
            ConfigError: the recording cannot be decoded.
        """
        path = rng.choice(self.files)
        try:
            sound, own_hz = load_audio(path)
        except AudioError as error:
            raise ConfigError(f"augment.mix: {error}") from error
        # Cut before it is resampled: recordings may be much longer than clips.
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
    """`clip + other`, `[S]` each, with `other` scaled to lie `snr_db` below the clip's level.

    Where one of the two is silent there is no such ratio, and the clip is returned as it is.
    """
    wanted = clip.square().mean().sqrt() * 10 ** (-snr_db / 20)
    level = other.square().mean().sqrt()
    if wanted == 0 or level == 0:
        return clip
    return clip + other * (wanted / level)
