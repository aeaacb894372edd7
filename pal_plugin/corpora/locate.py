"""Resolves file names in annotations to files in an audio folder.

Design choice: the folder is listed once and names are looked up in that list; no path is built
from a name. So `../../x.wav` cannot escape the folder, and a file is found with another extension,
in a deeper subfolder, or when the annotation holds a path on the authors' disk.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from pal_plugin.audio.extensions import AUDIO_EXTENSIONS, is_audio
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.printable import printable

_SHOWN = 3


def without_extension(name: str) -> str:
    """The name without its audio extension, such as `.wav`; other dots stay."""
    return name.rpartition(".")[0] if is_audio(name) else name


def youtube_names(video: str, start_s: float, end_s: float) -> list[str]:
    """File names that copies of YouTube datasets use for a clip, most specific first, no extension.

    There is no official audio, and every download script has its own convention. For video `abc`
    from 30 to 40 s: `abc_30`, `abc_000030` (VGGSound), `abc_30_40`, `abc_30.000_40.000` (DCASE,
    AudioSet), `abc_30000_40000` (ms), `abc`; each also prefixed with `Y`, which keeps a name from
    beginning with `-`.

    Args:
        start_s, end_s: clip boundaries in seconds.
    """
    names = [
        f"{video}_{start_s:.3f}_{end_s:.3f}",
        f"{video}_{round(start_s * 1000)}_{round(end_s * 1000)}",
        video,
    ]
    if start_s == int(start_s):
        start, end = int(start_s), int(end_s)
        names = [f"{video}_{start}", f"{video}_{start:06d}", f"{video}_{start}_{end}", *names]
    return [name for plain in names for name in (plain, f"Y{plain}")]


class AudioFolder:
    """The audio files below a folder; follows symbolic links.

    Args:
        root: the folder.

    Raises:
        ConfigError: if the folder does not exist.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise ConfigError(f"no audio folder at {root}; expected the folder of the audio files")
        #: Relative POSIX path of each file to `(size in bytes, modification time in ns)`; sorted.
        self.files = dict(sorted(_walk(self.root)))
        self._exact = {_normal(path): path for path in self.files}
        self._stems: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        for path in self.files:
            normal = _normal(path)
            stem = without_extension(normal)
            self._stems.setdefault(stem, []).append(path)
            name = normal.rpartition("/")[2]
            for key in {name, without_extension(name)}:
                self._names.setdefault(key, []).append(path)

    def find_all(self, names: Sequence[str]) -> tuple[list[str] | None, str]:
        """`find` of each of several clips; the reason of the first that is missing."""
        found = [self.find(name) for name in names]
        missing = next((why for file, why in found if file is None), None)
        return ([file for file, _ in found], "") if missing is None else (None, missing)

    def find(self, *names: str) -> tuple[str | None, str]:
        """Resolves the first of several names that exists.

        Each name is tried as the path itself, with another audio extension, and as each of its
        suffixes (`a/b/c.wav`, `b/c.wav`, `c.wav`). If none matches, falls back to a unique file of
        that name anywhere below the folder, or below the parent folder that the name gives.

        Returns:
            `(relative path, "")`, or `(None, reason)`.
        """
        cut = [_parts(name) for name in names]
        for parts in cut:
            for start in range(len(parts)):
                path = "/".join(parts[start:])
                if path in self._exact:
                    return self._exact[path], ""
                for stem in (path, without_extension(path)):
                    if stem in self._stems:
                        return _preferred(self._stems[stem]), ""
        for parts in cut:
            for name in dict.fromkeys((parts[-1], without_extension(parts[-1])) if parts else ()):
                # `x/1.wav` is not `y/1.wav`: the parent folder in the name must match.
                found = [
                    path
                    for path in self._names.get(name, [])
                    if len(parts) == 1 or parts[-2] in path.split("/")[:-1]
                ]
                if len({without_extension(path) for path in found}) == 1:
                    return _preferred(found), ""
                if found:
                    some = printable(", ".join(found[:_SHOWN]))
                    return None, f"ambiguous name, {len(found)} files match: {some}"
        return None, printable(f"no file; tried {', '.join(dict.fromkeys(names))}")


def _walk(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    seen = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        identity = os.stat(folder)
        if (identity.st_dev, identity.st_ino) in seen:  # a symlink cycle
            folders.clear()
            continue
        seen.add((identity.st_dev, identity.st_ino))
        folders.sort()
        for name in files:
            if is_audio(name):
                path = Path(folder, name)
                if path.is_file():  # not a dangling symlink
                    about = path.stat()
                    yield path.relative_to(root).as_posix(), (about.st_size, about.st_mtime_ns)


def _preferred(paths: list[str]) -> str:
    order = {extension: place for place, extension in enumerate(AUDIO_EXTENSIONS)}
    return min(paths, key=lambda path: (order[path.rpartition(".")[2].lower()], path))


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _parts(name: str) -> list[str]:
    parts = _normal(name).replace("\\", "/").split("/")
    return [part for part in parts if part not in ("", ".", "..")]
