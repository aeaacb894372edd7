"""Clips in a folder with a CSV of labels: one closed question per clip.

The format is ESC-50's (`filename, fold, target, category, ...`); the names of the columns are
arguments, so most public CSVs fit. Missing files are found before anything runs.
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
    """A file and the answer that is right for it."""

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
    """Rows of a CSV as labelled clips; files are not opened.

    Args:
        annotations: CSV with a header.
        folder: where the files of `filename_column` are.
        where: `{column: value or list of values}`; a row is kept when all agree (as text, case
            ignored).
        labels: text of a label by its name in the CSV; others get spaces for underscores.

    Raises:
        ConfigError: no such file, no such column, a row that is not whole, or no row left.
    """
    path = Path(annotations).expanduser()
    try:
        rows = read_csv(path, (filename_column, label_column, *(where or {})))
    except MissingColumnError as error:
        raise ConfigError(
            f"{error} The columns are named by build_info.columns and "
            "build_info.annotations.SPLIT.where."
        ) from error
    kept = [row for row in rows if _agrees(row, where or {})]
    if not kept:
        raise ConfigError(f"{path} has {len(rows)} rows, and none agrees with {dict(where or {})}")
    for row in kept:
        if not (row[filename_column] and row[label_column]):
            raise ConfigError(f"{row.where}: a row without a file name or a label: {row}")
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
    """`(clips to train on, clips held out)`: of each label the same share, at least one.

    Which clips are held out follows from their names alone, so that a folder that grows keeps its
    split, but for what is new. Recordings that were cut into several clips may fall on both sides:
    give a column that splits them (`where`).

    Raises:
        ConfigError: a part that is none, or a label with one clip.
    """
    if isinstance(part, bool) or not isinstance(part, int | float) or not 0 < part < 1:
        raise ConfigError(f"part_of_train is {part!r}; expected a share, such as 0.2")
    by_label: dict[str, list[LabelledClip]] = {}
    for clip in clips:
        by_label.setdefault(clip.label, []).append(clip)
    single = [label for label, of_label in by_label.items() if len(of_label) < 2]
    if single:
        raise ConfigError(
            f"{first_of(single)} have one clip, and none could be held out; add clips, or name the "
            "clips of validation by a column (where)"
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
        ConfigError: files are missing and `required`, or nothing is left; names up to ten.
    """
    missing = [clip.path for clip in clips if not clip.path.is_file()]
    if not missing:
        return list(clips)
    report = f"{len(missing)} of {len(clips)} clips of {split!r} are missing: {first_of(missing)}"
    if required or len(missing) == len(clips):
        raise ConfigError(
            f"{report}. Check build_info.audio.storage and the file names, or set "
            "build_info.allow_missing=true to go without them"
        )
    logging.warning("%s; going without them", report)
    return [clip for clip in clips if clip.path.is_file()]


class ClipDataset(ClipSource, Dataset):
    """Labelled clips, each with a closed question.

    Args:
        clips: files and labels.
        audio_processor, text_processor: as of `ClipSource`.
        questions: wordings; training draws one, evaluation asks the first.
        candidates: all possible answers.
        question_type: name of the question in the metrics.
        source: further arguments of `ClipSource`.
    """

    #: An index beyond the length means a later pass.
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
        for question in questions:  # what cannot be asked is told now
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
    """The file names; of files that share one, the path below the folder of all files."""
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
