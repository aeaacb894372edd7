"""Single-label and multi-label datasets: ESC-50, FSD50K, VocalSound, VGGSound, AudioSet,
DCASE 2017 task 4.

All use the prompt that LTU and GAMA use for them; the answer is the label text.
Sources: the datasets' own files; the label lists of YuanGongND/ltu.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import classification, tags
from pal_plugin.corpora.locate import AudioFolder, without_extension, youtube_names
from pal_plugin.corpora.prompts import CLASSIFY
from pal_plugin.corpora.records import Corpus, Record, grouped, labels_of, record_id
from pal_plugin.corpora.tables import (
    Row,
    ending,
    first_line,
    listed,
    parsed,
    read_csv,
    read_plain_csv,
    read_text,
    seconds,
)
from pal_plugin.corpora.texts import checked_label, checked_text
from pal_plugin.utils.errors import ConfigError

VOCALSOUND = {
    "laughter": "laughter",
    "sigh": "sigh",
    "cough": "cough",
    "throatclearing": "throat clearing",
    "sneeze": "sneeze",
    "sniff": "sniff",
}


def read_esc50(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`filename, fold, target, category, esc10, src_file, take`; fold=1,2 selects folds."""
    records, problems = [], []
    for path in files:
        for row in read_csv(path, ("filename", "fold", "category")):
            with listed(problems, row):
                facts = row.only("fold", "category", "esc10", "src_file", "take")
                item = classification(CLASSIFY, _spaced(row["category"]))
                records.append(Record(record_id(row["filename"]), row["filename"], [item], facts))
    return Corpus(records, labels_of(records), problems)


def read_fsd50k(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Columns `fname, labels, mids`, and `split` (train, val) in dev.csv.

    The vocabulary (no header: `index, label, mid`) gives the 200 labels in order; without it, the
    labels are those that occur. `*_clips_info_FSD50K.json` gives each clip's licence.
    """
    rows, vocabulary, about = [], [], {}
    for path in files:
        if ending(path) == ".json":
            about.update(_json(path))
        elif first_line(path).startswith("fname"):
            rows += read_csv(path, ("fname", "labels"))
        else:
            table = read_plain_csv(path, ("index", "label", "mid"))
            vocabulary += [_spaced(label_in(row, "label")) for row in table]
    if not rows:
        raise ConfigError("FSD50K needs dev.csv or eval.csv (fname, labels, mids)")
    records, problems = [], []
    for row in rows:
        facts = {"split": row["split"]} if row.get("split") else {}
        licence = about.get(row["fname"], {}).get("license")
        if licence:
            facts["licence"] = licence
        with listed(problems, row):
            item = tags(CLASSIFY, [_spaced(label) for label in row["labels"].split(",")])
            records.append(Record(row["fname"], f"{row['fname']}.wav", [item], facts))
    return Corpus(records, vocabulary or labels_of(records), problems)


def read_vocalsound(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """File names `f0003_0_throatclearing.wav`: sex and speaker, collection, class.

    Without annotations, reads all files below the folder; with the authors' `datafiles/*.json`
    (`{"data": [{"wav": ...}]}`), only the files they list. `class_labels_indices_vs.csv` is
    accepted and ignored: its six names are known.
    """
    lists = [path for path in files if ending(path) == ".json"]
    for path in set(files) - set(lists):
        read_csv(path, ("index", "mid", "display_name"))
    names = list(folder.files)
    if lists:
        try:
            names = [entry["wav"] for path in lists for entry in _json(path)["data"]]
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"{lists[0]}: expected {{'data': [{{'wav': FILE}}, ...]}}, as in datafiles/tr.json"
            ) from error
    records, problems = [], []
    for name in names:
        speaker, _, kind = without_extension(name).rpartition("/")[2].partition("_")
        label = VOCALSOUND.get(kind.rpartition("_")[2])
        if label is None or not speaker:
            problems.append(f"{name}: expected a name like SPEAKER_COLLECTION_CLASS.wav")
            continue
        facts = {"speaker": speaker, "sex": speaker[0]}
        records.append(Record(record_id(name), name, [classification(CLASSIFY, label)], facts))
    return Corpus(grouped(records), list(VOCALSOUND.values()), problems)


def read_vggsound(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """No header; columns video, start second, label, split; clips are 10 s long."""
    records, problems = [], []
    for path in files:
        for row in read_plain_csv(path, ("video", "start", "label", "split")):
            with listed(problems, row):
                start = seconds(row, "start")
                audio, *others = youtube_names(row["video"], start, start + 10)
                item = classification(CLASSIFY, row["label"])
                facts = {"split": row["split"], "youtube_id": row["video"], "start_time": start}
                records.append(
                    Record(f"{row['video']}_{start:06.0f}", audio, [item], facts, tuple(others))
                )
    return Corpus(records, labels_of(records), problems)


def read_audioset(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Segments (`YTID, start_seconds, end_seconds, positive_labels`) and
    `class_labels_indices.csv` (`index, mid, display_name`), which maps mids to names.

    A `.lbl` manifest as in EAT and SSLAM (file stem, tab, mids) may replace the segments.
    """
    names: dict[str, str] = {}
    rows: list[tuple[Row, str, list[str], str, dict[str, Any]]] = []
    problems: list[str] = []
    for path in files:
        if ending(path) == ".lbl":
            for row in read_plain_csv(path, ("stem", "mids"), delimiter="\t"):
                rows.append((row, row["stem"], [row["stem"]], row["mids"], {}))
        elif first_line(path).startswith("index,"):
            table = read_csv(path, ("mid", "display_name"))
            names.update({row["mid"]: label_in(row, "display_name") for row in table})
        else:
            columns = ("YTID", "start_seconds", "end_seconds", "positive_labels")
            for row in read_plain_csv(path, columns, comment="#"):
                with listed(problems, row):
                    start, end = seconds(row, "start_seconds"), seconds(row, "end_seconds")
                    facts = {"youtube_id": row["YTID"], "start_time": start, "end_time": end}
                    found = youtube_names(row["YTID"], start, end)
                    rows.append((row, row["YTID"], found, row["positive_labels"], facts))
    if not names or not rows:
        raise ConfigError(
            "AudioSet needs segments (YTID, start_seconds, ...) or a .lbl manifest, and "
            "class_labels_indices.csv (index, mid, display_name)"
        )
    records = []
    for row, stem, (audio, *others), mids, facts in rows:
        with listed(problems, row):
            unknown = [mid for mid in mids.split(",") if mid not in names]
            if unknown:
                raise ConfigError(f"{stem}: {', '.join(unknown)} is not in the label table")
            item = tags(CLASSIFY, [names[mid] for mid in mids.split(",")])
            records.append(Record(stem, audio, [item], facts, tuple(others)))
    return Corpus(records, list(names.values()), problems)


def read_dcase17(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Tab-separated `{video}_{start}_{end}.wav`, onset, offset, label; one row per event.

    With a header, as in later releases (DESED), or without. The target is the clip's set of labels;
    the times stay with the clip as `events`. Audio files are usually prefixed with `Y`, the table
    usually not; both names are tried.
    """
    columns = ("filename", "onset", "offset", "event_label")
    clips: dict[str, list[list]] = {}
    problems: list[str] = []
    for path in files:
        headed = first_line(path).split("\t")[0].strip() == "filename"
        read = read_csv if headed else read_plain_csv
        for row in read(path, columns, delimiter="\t"):
            with listed(problems, row):
                label = checked_text(row["event_label"].replace("_", " "), "event_label")
                event = [seconds(row, "onset"), seconds(row, "offset"), label]
                clips.setdefault(row["filename"], []).append(event)
    records = []
    for name, events in clips.items():
        other = name[1:] if name.startswith("Y") else f"Y{name}"
        item = tags(CLASSIFY, list(dict.fromkeys(label for _, _, label in events)))
        records.append(Record(record_id(name), name, [item], {"events": events}, (other,)))
    return Corpus(records, labels_of(records), problems)


def _spaced(label: str) -> str:
    return label.replace("_", " ").strip()


def label_in(row: Row, column: str) -> str:
    """An entry of a label table, which is useless if incomplete.

    Raises:
        ConfigError: if the label is empty or damaged; names the line.
    """
    try:
        return checked_label(row[column], column)
    except ConfigError as error:
        raise ConfigError(f"{row.where}: {error}") from error


def _json(path: Path) -> dict:
    value = parsed(path, read_text(path))
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: expected an object, got {type(value).__name__}")
    return value
