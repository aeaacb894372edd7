"""What a source is: the archive of one commit, and which of its files are taken."""

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
    """A file of an archive.

    Args:
        path: in the archive, below its one folder.
        name: here.
        sha256: of its content, as the source counts it; None where it is not known.
    """

    path: str
    name: str
    sha256: str | None


class Archive(ABC):
    """A repository at a commit, whose content cannot change.

    Attributes:
        name: of `pal data fetch`.
        about: for a person.
        repository: `owner/name` on GitHub.
        commit: 40 hexadecimal digits.
        megabytes: of the download, about.
        licence: of the whole, for a person.
        licence_url: its text.
        changes: what is changed on the way, as the licences ask to say.
        folder: below the folder that is asked for.
        unknown: which clips no hash is known of, for a person.
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
        """The one folder of the archive."""
        return f"{self.repository.partition('/')[2]}-{self.commit}"

    def url(self, base: str) -> str:
        """Where GitHub documents the archive to be.

        Args:
            base: `https://github.com`, or a mirror that answers as it does.
        """
        return f"{base.rstrip('/')}/{self.repository}/archive/{self.commit}.zip"

    @abstractmethod
    def known(self) -> list[Clip]:
        """The clips whose hashes are known; all of them must be in the archive."""

    @abstractmethod
    def other(self, path: str) -> Clip | None:
        """The clip without a known hash that a path of the archive is, or None: it is not taken."""

    @abstractmethod
    def digest(self, data: bytes) -> str:
        """SHA-256 of what is heard in a file: the archive's, or the one that is kept here.

        Raises:
            AudioError: it cannot be decoded.
        """

    @abstractmethod
    def kept(self, data: bytes) -> bytes:
        """The file as it is kept here."""

    @abstractmethod
    def tables(self, clips: Sequence[Clip], folder: Path) -> dict[str, str]:
        """CSVs by name, for clips that are in `folder`."""


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of a CSV beside this module."""
    text = Path(__file__).with_name(name).read_text("utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """A CSV with a header and plain line ends."""
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
