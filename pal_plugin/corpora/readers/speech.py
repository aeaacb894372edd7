"""LibriSpeech and the Free Spoken Digit Dataset, whose transcripts come with the audio.

Sources: the LibriSpeech README; the file names of Jakobovski/free-spoken-digit-dataset.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pal_plugin.corpora.items import classification, open_question
from pal_plugin.corpora.locate import AudioFolder, without_extension
from pal_plugin.corpora.prompts import DIGIT, TRANSCRIBE
from pal_plugin.corpora.records import Corpus, Record
from pal_plugin.corpora.tables import read_csv, read_text
from pal_plugin.utils.errors import ConfigError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def read_librispeech(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`SPEAKER/CHAPTER/ID.flac` next to `SPEAKER-CHAPTER.trans.txt` (lines of `ID TEXT`).

    Transcripts are the given annotation files, or searched for below the audio folder.
    """
    paths = list(files) or sorted(folder.root.rglob("[!.]*.trans.txt"))
    if not paths:
        raise ConfigError(
            f"no *.trans.txt below {folder.root}; expected LibriSpeech's SPEAKER/CHAPTER folders"
        )
    records, problems = [], []
    for path in paths:
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if not line.strip():
                continue
            name, _, text = line.strip().partition(" ")
            if not text or name.count("-") != 2:
                problems.append(f"{path.name}, line {number}: expected 'ID TEXT', got {line!r}")
                continue
            speaker, chapter, _ = name.split("-")
            try:
                item = open_question("transcript", "transcript", TRANSCRIBE, text)
            except ConfigError as error:
                problems.append(f"{path.name}, line {number}: {error}")
                continue
            facts = {"speaker": speaker, "chapter": chapter}
            records.append(Record(name, f"{speaker}/{chapter}/{name}.flac", [item], facts))
    return Corpus(records, None, problems)


def read_fsdd(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`DIGIT_SPEAKER_TAKE.wav`: all such files below the folder, or those in a CSV's column `file`;
    select speakers by speaker=jackson."""
    names = [row["file"] for path in files for row in read_csv(path, ("file",))]
    records, problems = [], []
    for name in names if files else folder.files:
        parts = without_extension(name).rpartition("/")[2].split("_")
        if len(parts) != 3 or not (parts[0].isdigit() and len(parts[0]) == 1):
            problems.append(f"{name}: expected a name like DIGIT_SPEAKER_TAKE.wav")
            continue
        digit, speaker, take = parts
        word = DIGITS[int(digit)]
        item = classification(DIGIT, word, "digit", answers=[word, digit])
        facts = {"speaker": speaker, "take": take}
        records.append(Record(without_extension(name), name, [item], facts))
    return Corpus(records, list(DIGITS), problems)
