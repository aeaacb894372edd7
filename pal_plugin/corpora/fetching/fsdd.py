"""The Free Spoken Digit Dataset: ten digits, each spoken 50 times by each named speaker."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.audio.decoding import AudioError, decode
from pal_plugin.corpora.fetching.archive import Archive, Clip, csv_text, read_table

_RATE_HZ = 8000
_PATH = re.compile(r"recordings/((?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<take>\d{1,3}))\.wav")
_CSV = ("file", "digit", "speaker", "index", "seconds")
#: Speakers with known hashes, used by the recipes.
_SPEAKERS = ("george", "jackson", "lucas", "nicolas")


class Fsdd(Archive):
    """The recipes' four speakers go to `fsdd.csv`; all others have their own CSV."""

    name = "fsdd"
    about = "Free Spoken Digit Dataset: 3000 clips of half a second, the digits in English"
    repository = "Jakobovski/free-spoken-digit-dataset"
    commit = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"
    megabytes = 16
    licence = "CC BY-SA 4.0"
    licence_url = "https://creativecommons.org/licenses/by-sa/4.0/"
    changes = "WAV to FLAC, the same samples; CSVs added"
    folder = "fsdd"
    unknown = "speakers other than george, jackson, lucas and nicolas"

    def known(self) -> list[Clip]:
        """Clips of the four speakers."""
        return [
            Clip(f"recordings/{row['clip']}.wav", f"{row['clip']}.flac", row["sha256"])
            for row in read_table("fsdd.csv")
        ]

    def other(self, path: str) -> Clip | None:
        """A clip of another speaker."""
        found = _PATH.fullmatch(path)
        if not found or found["speaker"] in _SPEAKERS:
            return None
        return Clip(path, f"{found[1]}.flac", None)

    def digest(self, data: bytes) -> str:
        """SHA-256 of the samples as little-endian int16, equal for WAV and FLAC."""
        decode(data)  # reports truncation by name
        return hashlib.sha256(_samples(data).tobytes()).hexdigest()

    def kept(self, data: bytes) -> bytes:
        """The samples as FLAC."""
        import soundfile

        file = io.BytesIO()
        soundfile.write(file, _samples(data), _RATE_HZ, format="FLAC", subtype="PCM_16")
        return file.getvalue()

    def tables(self, clips: Sequence[Clip], folder: Path) -> dict[str, str]:
        """The two CSVs."""
        import soundfile

        parts: dict[str, list[dict]] = {"fsdd.csv": [], "fsdd_other_speakers.csv": []}
        for clip in sorted(clips, key=lambda clip: clip.name):
            found = _PATH.fullmatch(clip.path)
            seconds = round(soundfile.info(folder / clip.name).frames / _RATE_HZ, 4)
            values = (clip.name, found["digit"], found["speaker"], int(found["take"]), seconds)
            known = found["speaker"] in _SPEAKERS
            name = "fsdd.csv" if known else "fsdd_other_speakers.csv"
            parts[name].append(dict(zip(_CSV, values, strict=True)))
        return {name: csv_text(_CSV, rows) for name, rows in parts.items() if rows}


def _samples(data: bytes):
    """Samples [S] as little-endian int16."""
    import soundfile

    with soundfile.SoundFile(io.BytesIO(data)) as sound:
        kind = (sound.samplerate, sound.channels, sound.subtype)
        if kind != (_RATE_HZ, 1, "PCM_16"):
            raise AudioError(f"expected 16-bit mono PCM at {_RATE_HZ} Hz, got {kind}")
        return sound.read(dtype="int16").astype("<i2")
