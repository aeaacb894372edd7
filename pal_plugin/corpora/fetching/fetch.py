"""`pal data fetch`: downloads an archive, verifies its clips and places them for the recipes.

The archive is not trusted: only paths that the source defines are read, and only names that the
source builds are written. Clips are written atomically; `SOURCE.json` is written last, and running
the same command again completes a folder without it.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from pal_plugin.audio.errors import AudioError
from pal_plugin.corpora.fetching.archive import Archive, Clip
from pal_plugin.corpora.fetching.esc10 import Esc10
from pal_plugin.corpora.fetching.fsdd import Fsdd
from pal_plugin.utils.downloads import download
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import file_sha256, replace_text, replacing, write_json
from pal_plugin.utils.spelling import did_you_mean, first_of

SOURCES: dict[str, Archive] = {source.name: source for source in (Esc10(), Fsdd())}
#: Describes a folder's clips and their origin.
SOURCE = "SOURCE.json"
GITHUB = "https://github.com"
#: Environment variable with a mirror to use instead of GitHub.
MIRROR = "PAL_GITHUB"
#: Maximum size of a clip in bytes.
_MOST_BYTES = 20_000_000
#: Exceptions of zipfile for a truncated or corrupted archive.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def source_of(name: str) -> Archive:
    """The source of this name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in SOURCES:
        raise ConfigError(f"no source {name!r} to fetch. {did_you_mean(name, list(SOURCES))}")
    return SOURCES[name]


def default_folder() -> Path:
    """`$PAL_DATA/audio`, where the recipes of `projects/pal/mini` look for audio.

    Raises:
        ConfigError: if PAL_DATA is not set.
    """
    if not os.environ.get("PAL_DATA"):
        raise ConfigError(
            "no output folder: give --out FOLDER, or set PAL_DATA (clips go to $PAL_DATA/audio)"
        )
    return Path(os.environ["PAL_DATA"]).expanduser() / "audio"


def fetch(source: Archive, out: str | Path, base: str | None = None) -> dict[str, Any]:
    """Fetches the clips of a source into `OUT/FOLDER`, unless they are already there.

    Args:
        base: base URL of a mirror with GitHub's URL layout; None: `$PAL_GITHUB`, else
            `https://github.com`.

    Returns:
        The content of `SOURCE.json`: `clips`, `checked_by_hash`, `not_checked_by_hash` and more.

    Raises:
        DownloadError: if the archive cannot be downloaded.
        ConfigError: if the archive or its clips differ from what is expected; names the clips,
            which are not kept.
    """
    folder = Path(out).expanduser() / source.folder
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".fetching.lock"):
        facts = whole(source, folder)
        if facts is not None:
            return facts
        url = source.url(base or os.environ.get(MIRROR) or GITHUB)
        archive = folder / f".{source.name}-{source.commit[:12]}.zip"
        if not archive.exists():
            logging.info("downloading %s", url)
            download(url, archive, source.megabytes * 10**6)
        try:
            with zipfile.ZipFile(archive) as opened:
                clips, left_out = _placed(source, opened, _chosen(source, opened), folder)
        except (*_DAMAGED, ConfigError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise  # e.g. a full disk; EINVAL is a negative seek in a damaged file list
            archive.unlink()  # the next try downloads it again
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"the archive from {url} is damaged ({error}); try again") from error
        tables = source.tables(clips, folder)
        for name, text in tables.items():
            replace_text(folder / name, text)
        facts = {
            **_facts(source, url, clips),
            "left_out": left_out,
            "tables": sorted(tables),
            "sha256_of_all": _sha256(folder, [*(clip.name for clip in clips), *tables]),
        }
        write_json(folder / SOURCE, facts)
        archive.unlink()
    return facts


def whole(source: Archive, folder: Path) -> dict[str, Any] | None:
    """The content of `SOURCE.json` if all files it lists are present and unchanged; else None."""
    try:
        facts = json.loads((folder / SOURCE).read_text("utf-8"))
        names = set(facts["tables"])
        for table in facts["tables"]:
            with (folder / table).open(newline="", encoding="utf-8") as file:
                names |= {row[0] for row in list(csv.reader(file))[1:]}
        same = facts["commit"] == source.commit
        return facts if same and facts["sha256_of_all"] == _sha256(folder, names) else None
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None


def _chosen(source: Archive, archive: zipfile.ZipFile) -> list[Clip]:
    """The clips of an archive to extract."""
    known = {clip.path: clip for clip in source.known()}
    top, chosen = f"{source.top}/", {}
    for name in archive.namelist():
        path = name.removeprefix(top)
        clip = known.get(path) or source.other(path)
        if name.startswith(top) and clip is not None:
            chosen[path] = clip
    if lost := sorted(known.keys() - chosen.keys()):
        raise ConfigError(
            f"the archive of {source.repository} lacks {len(lost)} of {len(known)} clips expected "
            f"below {top}: {first_of(lost)}"
        )
    return list(chosen.values())


def _placed(
    source: Archive, archive: zipfile.ZipFile, clips: Sequence[Clip], folder: Path
) -> tuple[list[Clip], list[str]]:
    """Extracts clips to the folder; returns them, and the faults of skipped clips without a known
    hash."""
    placed, faults, left_out = [], [], []
    for clip in tqdm(clips, desc=f"{source.name}: verify and extract", unit="clip"):
        try:
            data = _read(archive, f"{source.top}/{clip.path}")
            found = source.digest(data)
        except AudioError as error:
            (left_out if clip.sha256 is None else faults).append(f"{clip.path}: {error}")
            continue
        if clip.sha256 not in (None, found):
            faults.append(f"{clip.path}: expected SHA-256 {clip.sha256}, got {found}")
            continue
        if not _is_here(source, folder / clip.name, found):
            with replacing(folder / clip.name) as temporary:
                temporary.write_bytes(source.kept(data))
        placed.append(clip)
    if faults:
        raise ConfigError(
            f"{len(faults)} of {len(clips)} clips of {source.repository} failed verification: "
            f"{first_of(faults, '; ')}. They were not written and the archive was deleted; if this "
            "happens again, the URL serves other clips than the recipes were made with"
        )
    return placed, left_out


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    member = archive.getinfo(name)
    if member.file_size > _MOST_BYTES:
        raise AudioError(f"expected at most {_MOST_BYTES} bytes, got {member.file_size}")
    return archive.read(member)  # zipfile verifies the CRC


def _is_here(source: Archive, path: Path, digest: str) -> bool:
    try:
        return source.digest(path.read_bytes()) == digest
    except (OSError, AudioError):
        return False


def _facts(source: Archive, url: str, clips: Sequence[Clip]) -> dict[str, Any]:
    unchecked = sum(clip.sha256 is None for clip in clips)
    return {
        "name": source.name,
        "from": url,
        "commit": source.commit,
        "licence": source.licence,
        "licence_url": source.licence_url,
        "changes": source.changes,
        "clips": len(clips),
        "checked_by_hash": len(clips) - unchecked,
        "not_checked_by_hash": {"clips": unchecked, "which": source.unknown},
    }


def _sha256(folder: Path, names: Iterable[str]) -> str:
    """One hash over the names and hashes of all files."""
    lines = (f"{file_sha256(folder / name)}  {name}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
