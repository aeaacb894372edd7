"""Clips of the page: files that were uploaded or recorded, and those of the package."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pal_plugin import clips as shipped
from pal_plugin.audio.decoding import decode
from pal_plugin.audio.errors import AudioError


@dataclass(frozen=True, eq=False)
class PageClip:
    """A clip that was decoded.

    Args:
        name: as the page shows it.
        samples: `[S]` float32, mono.
        rate_hz: samples per second.
    """

    name: str
    samples: np.ndarray
    rate_hz: int

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.rate_hz

    @property
    def audio(self) -> tuple[np.ndarray, int]:
        """As messages take it."""
        return self.samples, self.rate_hz


def read_clip(path: str | Path, most_s: float = 600.0) -> PageClip:
    """Decode a file.

    Args:
        most_s: limit of its length in seconds.

    Raises:
        AudioError: the file cannot be decoded, or is longer; the message names it without its
            folder.
    """
    path = Path(path)
    try:
        samples, rate_hz, _ = decode(path)
    except AudioError as error:
        raise AudioError(str(error).replace(str(path), path.name)) from error
    clip = PageClip(path.stem, samples, rate_hz)
    if clip.seconds > most_s:
        raise AudioError(
            f"{path.name} has {clip.seconds:.0f} s; the page takes clips of up to {most_s:g} s"
        )
    return clip


def shipped_clips() -> list[tuple[str, str]]:
    """`(what is shown, path)` of each clip of the package."""
    return [(clip.name.replace("_", " "), str(clip.path)) for clip in shipped.clips()]
