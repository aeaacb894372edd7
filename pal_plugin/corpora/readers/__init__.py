"""The table of supported datasets: their readers, annotation files and known licences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers.captions import read_audiocaps, read_clotho
from pal_plugin.corpora.readers.choices import read_airbench, read_mmau, read_muchomusic
from pal_plugin.corpora.readers.labels import (
    read_audioset,
    read_dcase17,
    read_esc50,
    read_fsd50k,
    read_vggsound,
    read_vocalsound,
)
from pal_plugin.corpora.readers.messages import read_messages
from pal_plugin.corpora.readers.own import joined_captions, read_own
from pal_plugin.corpora.readers.questions import read_clotho_aqa, read_compar_test, read_openaqa
from pal_plugin.corpora.readers.speech import read_fsdd, read_librispeech
from pal_plugin.corpora.records import Corpus, Record, selected, with_unique_ids
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.printable import printable
from pal_plugin.utils.spelling import did_you_mean


@dataclass(frozen=True)
class Reader:
    """One dataset.

    Attributes:
        read: maps annotation files and the audio folder to a corpus.
        about: one-line description.
        annotations: the annotation files it accepts.
        optional: whether annotation files are optional.
        finish: postprocesses the records after `where` filtering; None where not needed.
        licence: licence of the dataset as a whole, None if not known; check the dataset's own
            pages before publishing anything.
    """

    read: Callable[[Sequence[Path], AudioFolder], Corpus]
    about: str
    annotations: str
    optional: bool = False
    finish: Callable[[Sequence[Record]], list[Record]] | None = None
    licence: str | None = None


READERS: dict[str, Reader] = {
    "openaqa": Reader(read_openaqa, "OpenAQA of LTU", "JSON lists"),
    "gama": Reader(read_openaqa, "GAMA's training data, CompA-R", "JSON lists"),
    "compar_test": Reader(read_compar_test, "CompA-R-test, judged reasoning", "JSON list"),
    "audiocaps": Reader(
        read_audiocaps,
        "AudioCaps 1 and 2, captions",
        "train.csv, val.csv or test.csv",
        licence="annotations MIT, for academic purposes",
    ),
    "clotho": Reader(
        read_clotho,
        "Clotho, captions",
        "clotho_captions_*.csv, clotho_metadata_*.csv",
        licence="captions: Tampere University licence (non-commercial, attribution)",
    ),
    "clotho_aqa": Reader(
        read_clotho_aqa, "Clotho-AQA, questions with three answers each", "clotho_aqa_*.csv"
    ),
    "esc50": Reader(read_esc50, "ESC-50, 50 classes", "esc50.csv", licence="CC BY-NC 3.0"),
    "fsd50k": Reader(
        read_fsd50k,
        "FSD50K, 200 classes, multi-label",
        "dev.csv or eval.csv, vocabulary.csv, *_clips_info_FSD50K.json",
        licence="CC BY 4.0 as a set; each clip has its own",
    ),
    "vocalsound": Reader(
        read_vocalsound,
        "VocalSound, 6 classes",
        "none, or datafiles/tr.json and others",
        optional=True,
        licence="CC BY-SA 4.0",
    ),
    "vggsound": Reader(
        read_vggsound, "VGGSound, 309 classes", "vggsound.csv", licence="annotations CC BY 4.0"
    ),
    "audioset": Reader(
        read_audioset,
        "AudioSet, 527 classes, multi-label",
        "*_segments.csv or *.lbl, class_labels_indices.csv",
        licence="labels CC BY 4.0",
    ),
    "dcase17": Reader(read_dcase17, "DCASE 2017 task 4, 17 classes", "TSV, with header or without"),
    "mmau": Reader(
        read_mmau, "MMAU, multiple choice", "mmau-test-mini.json", licence="annotations Apache-2.0"
    ),
    "muchomusic": Reader(read_muchomusic, "MuChoMusic, multiple choice", "muchomusic.csv"),
    "airbench": Reader(
        read_airbench,
        "AIR-Bench, multiple choice and chat",
        "Foundation_meta.json, Chat_meta.json",
    ),
    "librispeech": Reader(
        read_librispeech,
        "LibriSpeech, transcripts",
        "none: *.trans.txt beside the audio",
        optional=True,
        licence="CC BY 4.0",
    ),
    "fsdd": Reader(
        read_fsdd,
        "free spoken digits",
        "none: labels are in the file names",
        optional=True,
        licence="CC BY-SA 4.0",
    ),
    "own": Reader(
        read_own,
        "your own data",
        "CSV, TSV, JSON or JSONL: audio and label, labels, caption, "
        "transcript, or question and answer",
        finish=joined_captions,
    ),
    "messages": Reader(
        read_messages,
        "conversations with any number of clips",
        "JSONL: messages, with file names as clips, or placeholders and a list audios",
    ),
}


def reader(dataset: str) -> Reader:
    """The reader of a dataset.

    Raises:
        ConfigError: if the dataset is unknown.
    """
    if dataset not in READERS:
        raise ConfigError(f"no dataset {dataset!r}. {did_you_mean(dataset, list(READERS))}")
    return READERS[dataset]


def annotation_files(dataset: str, annotations: Sequence[str | Path]) -> list[Path]:
    """Checks that the annotation files exist, which is faster than listing the audio first.

    Raises:
        ConfigError: if the dataset is unknown, or a required file is missing.
    """
    entry = reader(dataset)
    files = [Path(path).expanduser() for path in annotations]
    if not files and not entry.optional:
        raise ConfigError(f"{dataset} needs annotation files: {entry.annotations}")
    for path in files:
        if not path.is_file():
            raise ConfigError(f"no annotation file at {path}; expected {entry.annotations}")
    return files


def read_corpus(
    dataset: str,
    annotations: Sequence[str | Path],
    folder: AudioFolder,
    where: Mapping[str, Sequence[str]] | None = None,
) -> Corpus:
    """Reads a dataset's original files into records; audio files are not opened.

    Args:
        dataset: a name in `READERS`.
        annotations: the annotation files.
        folder: the audio folder.
        where: `{column: accepted values}`, matched against the facts of clips and items.

    Raises:
        ConfigError: if the dataset is unknown, a file is missing or malformed, or no clip is left.
    """
    entry, files = reader(dataset), annotation_files(dataset, annotations)
    corpus = selected(entry.read(files, folder), where or {})
    if not corpus.records:
        problems = "; ".join(corpus.problems[:3])
        raise ConfigError(f"{dataset}: no clips in {', '.join(map(str, files))} {problems}".strip())
    records = entry.finish(corpus.records) if entry.finish else corpus.records
    return Corpus(with_unique_ids(records), corpus.labels, printable(corpus.problems))


def builders() -> dict[str, str]:
    """Entries for the dataset registry: `pal_NAME` of each reader to "module:Class"."""
    module = "pal_plugin.datasets.corpus_builders"
    return {f"pal_{name}": f"{module}:{name.title().replace('_', '')}Builder" for name in READERS}
