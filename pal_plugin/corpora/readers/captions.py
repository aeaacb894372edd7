"""AudioCaps (versions 1 and 2) and Clotho: all human captions of a clip form one item.

Sources: the files of cdjkim/audiocaps and of Clotho 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pal_plugin.corpora.items import caption
from pal_plugin.corpora.locate import AudioFolder, youtube_names
from pal_plugin.corpora.prompts import AUDIOCAPS, CLOTHO
from pal_plugin.corpora.records import Corpus, Record, record_id
from pal_plugin.corpora.tables import Row, first_line, listed, read_csv, seconds
from pal_plugin.corpora.texts import checked_text
from pal_plugin.utils.errors import ConfigError

_CAPTIONS = [f"caption_{number}" for number in range(1, 6)]


def read_audiocaps(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Columns `audiocap_id, youtube_id, start_time, caption`; clips are 10 s long.

    Files are named after the video (`youtube_names`), or after `audiocap_id`, which is tried last.
    """
    clips: dict[tuple[str, float], list[Row]] = {}
    problems: list[str] = []
    for path in files:
        for row in read_csv(path, ("audiocap_id", "youtube_id", "start_time", "caption")):
            with listed(problems, row):
                checked_text(row["caption"], "caption")
                clips.setdefault((row["youtube_id"], seconds(row, "start_time")), []).append(row)
    records = []
    for (video, start), rows in clips.items():
        audio, *others = youtube_names(video, start, start + 10)
        numbers = [row["audiocap_id"] for row in rows]
        item = caption(AUDIOCAPS, [row["caption"] for row in rows])
        facts = {"youtube_id": video, "start_time": start, "audiocap_ids": numbers}
        records.append(Record(f"{video}_{start}", audio, [item], facts, (*others, *numbers)))
    return Corpus(records, None, problems)


def read_clotho(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Columns `file_name, caption_1 .. caption_5`; licence and keywords come from the metadata."""
    captions, metadata = [], {}
    for path in files:
        if "caption_1" in first_line(path):
            captions += read_csv(path, ("file_name", *_CAPTIONS))
        else:
            columns = ("file_name", "keywords", "license")
            rows = read_csv(path, columns, other="cp1252")  # the published encoding
            metadata.update({row["file_name"]: row for row in rows})
    if not captions:
        raise ConfigError(
            "Clotho needs a file with captions (file_name, caption_1 .. caption_5), e.g. "
            "clotho_captions_development.csv; the metadata is optional"
        )
    records, problems = [], []
    for row in captions:
        texts = []
        for name in _CAPTIONS:
            with listed(problems, row):
                texts.append(checked_text(row[name], name))
        if not texts:
            continue
        audio = row["file_name"]
        about = metadata.get(audio, {})
        named = (("keywords", "keywords"), ("licence", "license"), ("sound_link", "sound_link"))
        facts = {name: about[column] for name, column in named if about.get(column)}
        records.append(Record(record_id(audio), audio, [caption(CLOTHO, texts)], facts))
    return Corpus(records, None, problems)
