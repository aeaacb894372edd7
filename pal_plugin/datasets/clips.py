"""Map-style dataset of clips in a folder with a CSV of labels: one closed question per clip.

The format is ESC-50's (`filename, fold, target, category, ...`) with configurable column names, so
most public CSVs fit. Missing files are reported before anything runs.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from pal_plugin.corpora.tables import MissingColumnError, read_csv
from pal_plugin.corpora.texts import checked_label, one_form
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.datasets.source import ClipSource
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import first_of


@dataclass(frozen=True)
class LabelledClip:
    """An audio file and its label."""

    path: Path
    label: str


def read_annotations(
    annotations: str | Path,
    folder: str | Path,
    *,
    filename_column: str = "filename",
    label_column: str = "category",
    where: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
) -> list[LabelledClip]:
    """Reads a CSV into labelled clips; audio files are not opened.

    Args:
        annotations: CSV with a header.
        folder: folder of the files in `filename_column`.
        filename_column, label_column: column names.
        where: `{column: value or list of values}`; keeps rows that match all (compared as text,
            case-insensitive).
        labels: maps label names in the CSV to label texts; in others, underscores become spaces.

    Raises:
        ConfigError: if the file or a column is missing, a row is incomplete, or no row is left.
    """
    path = Path(annotations).expanduser()
    try:
        rows = read_csv(path, (filename_column, label_column, *(where or {})))
    except MissingColumnError as error:
        raise ConfigError(
            f"{error} Column names are set by build_info.columns and "
            "build_info.annotations.SPLIT.where (recipes with data.annotations: by "
            "data.filename_column, data.label_column, and data.train and the like)."
        ) from error
    kept = [row for row in rows if _agrees(row, where or {})]
    if not kept:
        raise ConfigError(f"none of {len(rows)} rows of {path} matches {dict(where or {})}")
    for row in kept:
        if not (row[filename_column] and row[label_column]):
            raise ConfigError(f"{row.where}: row without a file name or label: {row}")
    renamed = {one_form(str(key)): text for key, text in (labels or {}).items()}
    clips = []
    for row in kept:
        try:
            label = checked_label(row[label_column], label_column)
        except ConfigError as error:
            raise ConfigError(f"{row.where}: {error}") from error
        label = renamed.get(label, label.replace("_", " ").strip())
        clips.append(LabelledClip(Path(folder).expanduser() / row[filename_column], label))
    return clips


def held_out(
    clips: Sequence[LabelledClip], part: float
) -> tuple[list[LabelledClip], list[LabelledClip]]:
    """Splits into `(training clips, held-out clips)`, stratified by label, at least one each.

    The split depends only on file names, so a growing folder keeps the split of its old clips.
    Recordings cut into several clips may fall on both sides: use a column to split them (`where`).

    Args:
        part: held-out share, between 0 and 1.

    Raises:
        ConfigError: if `part` is out of range, or a label has only one clip.
    """
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 < part < 1:
        raise ConfigError(f"part_of_train is {part!r}; expected a share between 0 and 1, e.g. 0.2")
    by_label: dict[str, list[LabelledClip]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    single = [label for label, of_label in by_label.items() if len(of_label) < 2]
    if single:
        raise ConfigError(
            f"there is only one clip of {first_of(single)}, so none can be held out; add clips, or "
            "choose validation clips by a column (where, or data.val and data.train)"
        )
    held = set()
    for of_label in by_label.values():
        ordered = sorted(of_label, key=lambda clip: sha256(clip.path.name.encode()).digest())
        held |= {clip.path for clip in ordered[: min(len(ordered) - 1, ceil(part * len(ordered)))]}
    kept = [clip for clip in clips if clip.path not in held]
    return kept, [clip for clip in clips if clip.path in held]


def present(clips: Sequence[LabelledClip], *, required: bool, split: str) -> list[LabelledClip]:
    """The clips whose files exist.

    Raises:
        ConfigError: if files are missing and `required`, or none exists; names up to ten.
    """
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if not missing:
        return list(clips)
    report = f"{len(missing)} of {len(clips)} clips of {split!r} are missing: {first_of(missing)}"
    if required or len(missing) == len(clips):
        raise ConfigError(
            f"{report}. Check the folder (build_info.audio.storage, which many recipes take from "
            "data.audio) and the file names with their endings, or set "
            "build_info.allow_missing=true to skip them"
        )
    logging.warning("%s; skipping them", report)
    return [clip for clip in clips if clip.path.is_file()]


class ClipDataset(ClipSource, Dataset):
    """Map-style dataset of labelled clips with a closed question.

    Args:
        clips: files and labels.
        audio_processor, text_processor: see `ClipSource`.
        questions: prompt variants; training draws one, evaluation uses the first.
        candidates: the label set.
        question_type: name under which metrics list the question.
        source: further arguments of `ClipSource`.
    """

    #: Indices beyond the length address later passes (epochs).
    counts_passes = True

    def __init__(
        self,
        clips: Sequence[LabelledClip],
        audio_processor: Callable[[Path], Any],
        text_processor: Callable[[str], str],
        questions: Sequence[str],
        candidates: Sequence[str],
        *,
        question_type: str = "classification",
        **source: Any,
    ) -> None:
        super().__init__(audio_processor, text_processor, candidates=candidates, **source)
        self.clips = list(clips)
        self.ids = _unique_names([clip.path for clip in self.clips])
        self.questions, self.question_type = list(questions), question_type
        for question in questions:  # fail early on unusable questions
            text_processor(question)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any] | SkippedClip:
        number, place = divmod(index, len(self.clips))
        clip = self.clips[place]
        question = self.questions[0]
        if self.train:
            question = random.Random(f"{self.seed}-{number}-{place}").choice(self.questions)
        item = {
            "question": question,
            "answer": clip.label,
            "task": "classification",
            "question_type": self.question_type,
        }
        return self.clip(clip.path, str(clip.path), self.ids[clip.path], [item])


def _unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Unique names of files: the file name, or where several share it, the relative path."""
    distinct = list(dict.fromkeys(paths))
    counts = Counter(path.name for path in distinct)
    shared = [path for path in distinct if counts[path.name] > 1]
    root = os.path.commonpath([path.parent for path in distinct]) if shared else ""
    below = {path: Path(os.path.relpath(path, root)).as_posix() for path in shared}
    return {path: below.get(path, path.name) for path in distinct}


def _agrees(row: Mapping[str, str], where: Mapping[str, Any]) -> bool:
    for column, wanted in where.items():
        values = wanted if isinstance(wanted, list | tuple) else [wanted]
        if row[column].lower() not in {str(value).lower() for value in values}:
            return False
    return True
