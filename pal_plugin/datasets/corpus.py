"""A public dataset's original files, map-style: no conversion, every clip by its number.

Design choice: what is missing is found before anything runs, as for a CSV of labels: training goes
without it and says so, evaluation stops unless it is told to go on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from pal_plugin.audio.io import AudioError
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.corpora.records import Item
from pal_plugin.datasets.collate import SkippedClip, collate_clips
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import first_of


@dataclass(frozen=True)
class CorpusClip:
    """A file and what is asked about it."""

    id: str
    path: Path
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
    """`(clips that are there, labels, what is left out)` of original files.

    Args:
        dataset: a name in `corpora.readers.READERS`.
        annotations: its files.
        folder: its audio.
        where: `{column: value or values}`.
        split: for the messages.
        required: whether everything must be there and usable.

    Raises:
        ConfigError: files that do not fit, no clip left, or something missing and `required`.
    """
    wanted = {k: v if isinstance(v, list | tuple) else [v] for k, v in (where or {}).items()}
    corpus = read_corpus(dataset, annotations, folder, wanted)
    clips, faults = [], list(corpus.problems)
    for record in corpus.records:
        file, why = folder.find(record.audio, *record.others)
        if file is None:
            faults.append(f"{record.id}: {why}")
        else:
            clips.append(CorpusClip(record.id, folder.root / file, record.items))
    check_left_out(faults, split=split, required=required or not clips)
    return clips, corpus.labels or [], faults


def check_left_out(faults: Sequence[str], *, split: str, required: bool) -> None:
    """Report clips that cannot be used, or stop.

    Raises:
        ConfigError: there are some and `required`; names up to ten.
    """
    if not faults:
        return
    named = first_of(faults, "; ")
    report = f"{len(faults)} clips or questions of {split!r} cannot be used: {named}"
    if required:
        raise ConfigError(
            f"{report}. Get them, or set build_info.allow_missing=true to go without them"
        )
    logging.warning("%s; going without them", report)


class CorpusDataset(Dataset):
    """Clips with the questions of their annotations.

    Args:
        clips: files and items.
        audio_processor: path to features.
        text_processor: applied to the questions.
        mix: which questions are asked.
        candidates: closed set of answers of classification questions.
        train: draw questions anew in each pass and skip what cannot be decoded, or ask all of the
            mix and raise an `AudioError`.
        seed: of the choice of questions.
        collate_audio: see `collate_clips`.
        allow_missing: in evaluation, too, leave out what cannot be decoded.
        left_out: what was missing when the clips were listed, with the reasons.

    Raises:
        ConfigError: no clip has a question of the mix.
    """

    #: An index beyond the length means a later pass.
    counts_passes = True

    def __init__(
        self,
        clips: Sequence[CorpusClip],
        audio_processor: Callable[[Path], Any],
        text_processor: Callable[[str], str],
        mix: QuestionMix,
        *,
        candidates: Sequence[str] | None = None,
        train: bool = False,
        seed: int = 0,
        collate_audio: Callable[[list], Any] | None = None,
        allow_missing: bool = False,
        left_out: Sequence[str] = (),
    ) -> None:
        self.clips = [clip for clip in clips if mix.eligible(clip.items)]
        if not self.clips:
            tasks = sorted({item["task"] for clip in clips for item in clip.items})
            raise ConfigError(
                f"none of {len(clips)} clips holds a question of the tasks "
                f"{', '.join(mix.weights)}; they hold {', '.join(tasks) or 'none'}"
            )
        self.audio_processor, self.text_processor = audio_processor, text_processor
        self.mix, self.train, self.seed = mix, train, seed
        self.candidates = list(candidates) if candidates else None
        self.collate_audio = collate_audio
        self.allow_missing, self.left_out = allow_missing, list(left_out)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any] | SkippedClip:
        number, place = divmod(index, len(self.clips))
        clip = self.clips[place]
        try:
            features = self.audio_processor(clip.path)
        except AudioError as error:
            if not (self.train or self.allow_missing):
                raise AudioError(f"{clip.path}: {error}") from error
            return SkippedClip(str(clip.path), str(error))
        if self.train:
            items = self.mix.draw(clip.items, f"{self.seed}-{number}-{clip.id}")
        else:
            items = self.mix.all(clip.items)
        return {"audio": features, "items": self._prepared(items), "sample_id": clip.id}

    def collater(self, clips: Sequence[dict | SkippedClip]) -> dict[str, Any]:
        """`collate_clips` with this dataset's way of joining audio."""
        return collate_clips(clips, self.collate_audio)

    def _prepared(self, items: list[Item]) -> list[Item]:
        prepared = []
        for item in items:
            item = {**item, "question": self.text_processor(item["question"])}
            if self.candidates and item["task"] == "classification":
                item["candidates"] = self.candidates
            prepared.append(item)
        return prepared
