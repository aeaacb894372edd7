"""The interface of a downloadable source: a repository archive at one commit and its clips."""

from __future__ import annotations

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Clip:
    """A file in an archive.

    Args:
        path: path in the archive, relative to its top-level folder.
        name: file name on disk after placement.
        sha256: expected digest (see `Archive.digest`); None where it is not known.
    """

    path: str
    name: str
    sha256: str | None


class Archive(ABC):
    """A repository at a fixed commit, so its content cannot change.

    Attributes:
        name: the argument of `pal data fetch`.
        about: one-line description.
        repository: `owner/name` on GitHub.
        commit: 40 hexadecimal digits.
        megabytes: approximate download size in MB.
        licence: licence of the dataset as a whole, as text.
        licence_url: URL of the licence text.
        changes: modifications made to the files, which the licences require to be named.
        folder: subfolder of the output folder.
        unknown: describes the clips without a known hash.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    repository: ClassVar[str]
    commit: ClassVar[str]
    megabytes: ClassVar[int]
    licence: ClassVar[str]
    licence_url: ClassVar[str]
    changes: ClassVar[str]
    folder: ClassVar[str]
    unknown: ClassVar[str]

    @property
    def top(self) -> str:
        """The top-level folder of the archive."""
        return f"{self.repository.partition('/')[2]}-{self.commit}"

    def url(self, base: str) -> str:
        """The URL that GitHub documents for the archive.

        Args:
            base: `https://github.com`, or a mirror with the same URL layout.
        """
        return f"{base.rstrip('/')}/{self.repository}/archive/{self.commit}.zip"

    @abstractmethod
    def known(self) -> list[Clip]:
        """Clips with known hashes; the archive must contain all of them."""

    @abstractmethod
    def other(self, path: str) -> Clip | None:
        """The clip at an archive path without a known hash; None to skip the path."""

    @abstractmethod
    def digest(self, data: bytes) -> str:
        """SHA-256 of a file's audio content, equal for the archived and the placed file.

        Raises:
            AudioError: if the file cannot be decoded.
        """

    @abstractmethod
    def kept(self, data: bytes) -> bytes:
        """The bytes to write to disk for a file of the archive."""

    @abstractmethod
    def tables(self, clips: Sequence[Clip], folder: Path) -> dict[str, str]:
        """CSV texts by file name, for the clips in `folder`."""


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of a CSV next to this module."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV with a header row and `\\n` line ends."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
