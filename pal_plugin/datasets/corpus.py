"""Map-style dataset of a public dataset's original files, without conversion to shards.

Design choice: missing files are found before anything runs: training warns and skips them,
evaluation stops unless `allow_missing` is set.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.corpora.records import Item
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.datasets.source import ClipSource
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import first_of


@dataclass(frozen=True)
class CorpusClip:
    """An audio file, or those of a conversation, and the items."""

    id: str
    path: Path | tuple[Path, ...]
    items: list[Item]


def corpus_clips(
    dataset: str,
    annotations: Sequence[str | Path],
    folder: AudioFolder,
    where: Mapping[str, Sequence[Any]] | None,
    *,
    split: str,
    required: bool,
) -> tuple[list[CorpusClip], list[str], list[str]]:
    """Reads original files into `(clips with audio, labels, faults of skipped clips)`.

    Args:
        dataset: a name in `corpora.readers.READERS`.
        annotations: its annotation files.
        folder: its audio folder.
        where: `{column: value or values}`.
        split: split name, used in messages.
        required: raise if anything is missing or unusable.

    Raises:
        ConfigError: if files are malformed, no clip is left, or any is missing and `required`.
    """
    wanted = {k: v if isinstance(v, list | tuple) else [v] for k, v in (where or {}).items()}
    corpus = read_corpus(dataset, annotations, folder, wanted)
    clips, faults = [], list(corpus.problems)
    for record in corpus.records:
        if isinstance(record.audio, tuple):
            found, why = folder.find_all(record.audio)
            path = found and tuple(folder.root / file for file in found)
        else:
            file, why = folder.find(record.audio, *record.others)
            path = file and folder.root / file
        if why:
            faults.append(f"{record.id}: {why}")
        else:
            clips.append(CorpusClip(record.id, path, record.items))
    check_left_out(faults, split=split, required=required or not clips)
    return clips, corpus.labels or [], faults


def check_left_out(faults: Sequence[str], *, split: str, required: bool) -> None:
    """Logs clips that cannot be used, or raises.

    Raises:
        ConfigError: if there are any and `required`; names up to ten.
    """
    if not faults:
        return
    named = first_of(faults, "; ")
    report = f"{len(faults)} clips or questions of {split!r} are unusable: {named}"
    if required:
        raise ConfigError(
            f"{report}. Provide them, or set build_info.allow_missing=true to skip them"
        )
    logging.warning("%s; skipping them", report)


class CorpusDataset(ClipSource, Dataset):
    """Map-style dataset of clips with their annotated questions.

    Args:
        clips: files and items.
        audio_processor, text_processor: see `ClipSource`.
        mix: selects the questions; training redraws them in each pass, evaluation uses all.
        source: further arguments of `ClipSource`.

    Raises:
        ConfigError: if no clip has a question selected by the mix.
    """

    #: Indices beyond the length address later passes (epochs).
    counts_passes = True

    def __init__(
        self,
        clips: Sequence[CorpusClip],
        audio_processor: Callable[[Path], Any],
        text_processor: Callable[[str], str],
        mix: QuestionMix,
        **source: Any,
    ) -> None:
        super().__init__(audio_processor, text_processor, **source)
        self.clips = [clip for clip in clips if mix.eligible(clip.items)]
        if not self.clips:
            tasks = sorted({item["task"] for clip in clips for item in clip.items})
            raise ConfigError(
                f"none of {len(clips)} clips has an item of the tasks "
                f"{', '.join(mix.weights)}; found {', '.join(tasks) or 'none'}"
            )
        self.mix = mix

    def __len__(self) -> int:
        return len(self.clips)

    def audio_clips(self) -> int:
        """Clips of audio in one pass, several for a conversation."""
        paths = [clip.path for clip in self.clips]
        return sum(len(path) if isinstance(path, tuple) else 1 for path in paths)

    def __getitem__(self, index: int) -> dict[str, Any] | SkippedClip:
        number, place = divmod(index, len(self.clips))
        clip = self.clips[place]
        if self.train:
            items = self.mix.draw(clip.items, f"{self.seed}-{number}-{clip.id}")
        else:
            items = self.mix.all(clip.items)
        where = clip.id if isinstance(clip.path, tuple) else str(clip.path)
        return self.clip(clip.path, where, clip.id, items)
