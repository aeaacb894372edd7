"""The audio of the answers that a report shows, kept small in `result/clips`.

Clips are read once more from the datasets, without decoding any but those that are kept.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile
import torch
from torch.utils.data import IterableDataset, Subset

from pal_plugin.audio.io import AudioError, load_audio, resample
from pal_plugin.datasets.collate import SkippedClip
from pal_plugin.datasets.source import ClipSource
from pal_plugin.evaluation.examples import Example
from pal_plugin.utils import files

#: Sampling rate, and longest excerpt: 30 s are about 200 KB of Vorbis.
RATE_HZ, LONGEST_S = 16000, 30.0
_FOLDER, _INDEX = "clips", "clips.jsonl"

#: Split, dataset (None: the only one) and sample id.
Name = tuple[str, str | None, str]


@dataclass(frozen=True)
class KeptClip:
    """A clip of a report.

    Attributes:
        path: OGG Vorbis, mono, 16 kHz.
        seconds: length of the whole clip; the file has its first 30 s.
    """

    path: Path
    seconds: float


def name_of(split: str, row: Mapping[str, Any]) -> Name:
    """The name of a row's sample."""
    return split, row.get("dataset"), row["sample_id"]


def keep_clips(
    examples: Iterable[Example], splits: Mapping[str, Mapping[str, Any]], folder: Path
) -> int:
    """Writes the clips of these rows; returns how many samples were found.

    Datasets that are not ours (`ClipSource`) have no clips that can be read again.

    Args:
        examples: from `examples.choose`.
        splits: datasets by name, by split.
        folder: `result` of a run folder.
    """
    wanted = {name_of(split, row) for split, row in examples if row.get("sample_id") is not None}
    (folder / _FOLDER).mkdir(exist_ok=True)
    for old in (folder / _FOLDER).glob("*.ogg"):
        old.unlink()
    found: list[dict[str, Any]] = []
    for split, datasets in splits.items():
        for dataset_name, dataset in datasets.items():
            label = dataset_name if len(datasets) > 1 else None
            left = {sample for s, d, sample in wanted if (s, d) == (split, label)}
            for sample, audio in _sources(dataset, left):
                clips = [_written(one, folder / _FOLDER, len(found)) for one in audio]
                entry = {"split": split, "dataset": label, "sample_id": sample}
                found.append({**entry, "clips": [clip for clip in clips if clip]})
    files.write_jsonl(folder / _INDEX, found)
    return len(found)


def kept_clips(folder: Path) -> dict[Name, list[KeptClip]]:
    """The clips that `keep_clips` wrote, by sample; none for runs of earlier versions."""
    if not (folder / _INDEX).is_file():
        return {}
    return {
        (row["split"], row["dataset"], row["sample_id"]): [
            KeptClip(folder / _FOLDER / clip["file"], clip["seconds"]) for clip in row["clips"]
        ]
        for row in files.read_jsonl(folder / _INDEX)
    }


def _sources(dataset: Any, wanted: set[str]) -> Iterator[tuple[str, list[Any]]]:
    """`(sample id, its clips undecoded)` of the wanted samples."""
    raw = _undecoded(dataset)
    if not wanted or raw is None:
        return
    left = set(wanted)
    stream = isinstance(raw, IterableDataset)
    clips = iter(raw) if stream else map(raw.__getitem__, range(len(raw)))
    for clip in clips:
        if isinstance(clip, SkippedClip) or clip["sample_id"] not in left:
            continue
        left.remove(clip["sample_id"])
        audio = clip["audio"]
        yield clip["sample_id"], audio if isinstance(audio, list) else [audio]
        if not left:
            return


def _undecoded(dataset: Any) -> Any:
    """A copy whose clips are paths or files instead of features; None for others' datasets."""
    if isinstance(dataset, ClipSource):
        plain = copy.copy(dataset)
        plain.audio_processor = lambda audio: audio
        return plain
    inner = dataset.dataset if isinstance(dataset, Subset) else getattr(dataset, "datasets", None)
    if inner is None:
        return None
    several = isinstance(inner, list)
    changed = [_undecoded(one) for one in (inner if several else [inner])]
    if any(one is None for one in changed):
        return None
    plain = copy.copy(dataset)
    setattr(plain, "datasets" if several else "dataset", changed if several else changed[0])
    return plain


def _written(audio: Any, folder: Path, number: int) -> dict[str, Any] | None:
    try:
        samples, rate_hz = load_audio(audio)
    except AudioError as error:
        logging.warning("not in the report: %s", error)
        return None
    seconds = len(samples) / rate_hz
    samples = resample(samples[: round(LONGEST_S * rate_hz)], rate_hz, RATE_HZ)
    peak = samples.abs().max()
    samples = torch.where(peak > 1, samples / peak, samples)
    file = f"{number}-{sum(1 for _ in folder.glob(f'{number}-*'))}.ogg"
    soundfile.write(folder / file, samples.numpy(), RATE_HZ, format="OGG", subtype="VORBIS")
    return {"file": file, "seconds": round(seconds, 3)}
