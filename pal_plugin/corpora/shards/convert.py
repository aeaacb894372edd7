"""Converts original files to shards: `pal data convert`.

Design choice: the assignment of clips to shards depends only on the annotations and the files
present, and each shard's record holds a digest of everything that determines its content,
including size and modification time of every file. So the number of workers does not matter, an
interrupted conversion resumes exactly, and a repaired file is read again. An output folder holds
one conversion; a different one is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import annotation_files, read_corpus, reader
from pal_plugin.corpora.records import Corpus
from pal_plugin.corpora.shards.writing import (
    FORMATS,
    finished,
    record_path,
    safe_keys,
    write_json,
    write_shard,
)
from pal_plugin.corpora.tables import parsed
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import file_sha256
from pal_plugin.utils.printable import printable
from pal_plugin.utils.runtime import usable_cores
from pal_plugin.utils.spelling import did_you_mean
from pal_plugin.utils.workers import run_jobs

VERSION = 2  # increment when the same input yields different shards
INDEX, REQUEST = "index.json", "conversion.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_OURS = re.compile(
    r"\.?[A-Za-z0-9_-]+-\d{5}\.(tar|json)(\.\d+\.partial)?|"
    r"\.?(index|conversion)\.json(\.\d+\.partial)?"
)


def convert(
    dataset: str,
    audio: str | Path,
    annotations: Sequence[str | Path],
    out: str | Path,
    *,
    split: str | None = None,
    where: Mapping[str, Sequence[str]] | None = None,
    form: str = "keep",
    rate_hz: int | None = None,
    shard_clips: int = 500,
    min_seconds: float = 0.1,
    workers: int | None = None,
    resume: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Writes the shards of a dataset and their index.

    Args:
        dataset: a name in `readers.READERS`.
        audio: folder with the audio files.
        annotations: the dataset's annotation files.
        out: output folder, new or of the same conversion.
        split: split name, used for the shards and the index.
        where: `{column: accepted values}`; selects rows by fold, split, speaker and so on.
        form: "keep" (original bytes), "flac" or "ogg" (mono).
        rate_hz: sampling rate of "flac" and "ogg"; None keeps each clip's own.
        shard_clips: clips per shard.
        min_seconds: shorter clips are skipped and listed.
        workers: number of processes; None: one per core.
        resume: keep finished shards of the same conversion; False replaces any conversion in
            `out`.
        progress: show a progress bar.

    Returns:
        The index, also written to `out/index.json`.

    Raises:
        ConfigError: if files or options are invalid, no audio is found, or `out` holds a conversion
            with different annotations, audio folder or options; names the differences.
    """
    _check(split, form, rate_hz, shard_clips, min_seconds, workers)
    files = annotation_files(dataset, annotations)
    folder = AudioFolder(audio)
    corpus = read_corpus(dataset, files, folder, where)
    request = {
        "version": VERSION,
        "dataset": dataset,
        "annotations": [{"name": path.name, "sha256": file_sha256(path)} for path in files],
        "split": split,
        "where": {k: sorted(map(str, v)) for k, v in (where or {}).items()},
        "format": form,
        "rate_hz": rate_hz,
        "shard_clips": shard_clips,
        "min_seconds": min_seconds,
    }
    out = Path(out).expanduser()
    name = f"{dataset}-{split}" if split else dataset
    clips, missing = _present(corpus, folder)
    _claim(out, {**request, "audio": str(folder.root.resolve())}, resume)
    jobs = _jobs(clips, folder, out, name, request)
    _remove_others(out, {Path(job["path"]).name for job in jobs})
    left = [job for job in jobs if finished(Path(job["path"]), job["digest"]) is None]
    if left:
        (out / INDEX).unlink(missing_ok=True)
    done = len(clips) - sum(len(job["clips"]) for job in left)
    if done:
        logging.info("%d of %d shards already exist", len(jobs) - len(left), len(jobs))
    with tqdm(total=len(clips), initial=done, desc=name, unit="clip", disable=not progress) as bar:
        run_jobs(write_shard, left, workers or usable_cores(), bar.update)
    index = printable(_index(request, corpus, jobs, missing))
    write_json(out / INDEX, index)
    return index


def read_index(folder: str | Path) -> dict[str, Any]:
    """Reads the index of converted shards.

    Raises:
        ConfigError: if there is none: another kind of folder, or an unfinished conversion.
    """
    path = Path(folder).expanduser() / INDEX
    if not path.is_file():
        reason = "expected a folder written by: pal data convert"
        if (path.parent / REQUEST).is_file():
            reason = (
                "its conversion is unfinished; run the same pal data convert again to resume it"
            )
        raise ConfigError(f"no {INDEX} in {folder}: {reason}")
    return parsed(path, path.read_text("utf-8"))


def summary(index: Mapping[str, Any]) -> str:
    """A few lines on what was converted and what was skipped."""
    lines = [
        (f"{index['samples']} conversations with " if "samples" in index else "")
        + f"{index['clips']} clips, {index['seconds'] / 3600:.2f} h, in {len(index['shards'])} "
        f"shards; items: " + ", ".join(f"{n} {task}" for task, n in index["tasks"].items())
    ]
    for kind in ("missing", "broken", "too_short", "duplicates", "problems"):
        entries = index[kind]
        if entries:
            lines.append(f"{kind.replace('_', ' ')}: {len(entries)}, e.g. {_short(entries[0])}")
    return "\n".join(lines)


def _check(
    split: str | None,
    form: str,
    rate_hz: int | None,
    shard_clips: int,
    min_seconds: float,
    workers: int | None,
) -> None:
    if split is not None and not _NAME.fullmatch(split):
        raise ConfigError(f"expected letters, digits, _ and - as split, got {split!r}")
    if form not in FORMATS:
        raise ConfigError(f"no format {form!r}. {did_you_mean(form, FORMATS)}")
    if rate_hz is not None and (form == "keep" or rate_hz < 1):
        raise ConfigError(f"a rate of {rate_hz} Hz needs --format flac or ogg, and 1 Hz or more")
    for name, value in (("shard_clips", shard_clips), ("workers", workers)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; expected 1 or more")
    if not min_seconds >= 0:
        raise ConfigError(f"min_seconds is {min_seconds}; expected 0 or more")


def _present(corpus: Corpus, folder: AudioFolder) -> tuple[list[dict], list[dict]]:
    """`(clips with their files, missing clips)`, both in annotation order."""
    clips, missing = [], []
    for record in corpus.records:
        if isinstance(record.audio, tuple):
            file, why = folder.find_all(record.audio)
        else:
            file, why = folder.find(record.audio, *record.others)
        if file is None:
            missing.append({"id": record.id, "audio": record.audio, "reason": why})
            continue
        clips.append({"id": record.id, "file": file, "items": record.items, "facts": record.facts})
    if not clips:
        raise ConfigError(
            f"found no audio for any of {len(missing)} clips in {folder.root} "
            f"({len(folder.files)} audio files); first: {missing[0]['reason']}"
        )
    for key, clip in zip(safe_keys(clip["id"] for clip in clips), clips, strict=True):
        clip["key"] = key
    return clips, missing


def _claim(out: Path, request: dict, resume: bool) -> None:
    """Reserves `out` for this conversion, or raises."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; expected a folder for the shards")
    known = out / REQUEST
    names = [path.name for path in out.iterdir()] if out.is_dir() else []
    strangers = [name for name in names if not _OURS.fullmatch(name)]
    if strangers or (names and not known.is_file()):
        raise ConfigError(
            f"{out} holds other files ({', '.join(sorted(strangers)[:3]) or 'of no conversion'})"
            "; choose a new output folder"
        )
    if known.is_file() and resume:
        before = parsed(known, known.read_text("utf-8"))
        changed = [
            _change(name, before.get(name), now)
            for name, now in printable(request).items()
            if before.get(name) != now
        ]
        if changed:
            raise ConfigError(
                f"{out} holds a different conversion ({'; '.join(changed)}); choose another "
                "folder, or overwrite it with --no-resume"
            )
    out.mkdir(parents=True, exist_ok=True)
    if not resume:
        _remove_others(out, set())
        (out / INDEX).unlink(missing_ok=True)
    write_json(known, request)


def _change(name: str, before: Any, now: Any) -> str:
    """An option's old and new value; for annotations, the files or those with changed content."""
    if name == "annotations" and isinstance(before, list):
        names = [[file["name"] for file in files] for files in (before, now)]
        if names[0] == names[1]:
            pairs = zip(before, now, strict=True)
            inside = ", ".join(new["name"] for old, new in pairs if old != new)
            return f"the content of {inside} has changed"
        before, now = (", ".join(files) or "none" for files in names)
    return f"{name} {before!r} -> {now!r}"


def _remove_others(out: Path, keep: set[str]) -> None:
    """Removes partial files and shards that are no longer part of this conversion."""
    keep = keep | {record_path(Path(name)).name for name in keep} | {INDEX, REQUEST}
    for path in sorted(out.iterdir()):
        if path.name not in keep and _OURS.fullmatch(path.name):
            if path.suffix == ".tar":
                (out / INDEX).unlink(missing_ok=True)
                logging.info("removed %s, no longer part of this conversion", path)
            path.unlink()


def _jobs(
    clips: Sequence[dict], folder: AudioFolder, out: Path, name: str, request: dict
) -> list[dict]:
    """The jobs of `write_shard`."""
    size = request["shard_clips"]
    options = {key: request[key] for key in ("format", "rate_hz", "min_seconds")}
    jobs = []
    for number, first in enumerate(range(0, len(clips), size)):
        chunk = clips[first : first + size]
        content = [request, [[clip, _state(folder, clip["file"])] for clip in chunk]]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        path, audio = str(out / f"{name}-{number:05d}.tar"), str(folder.root)
        jobs.append({"path": path, "digest": digest, "audio": audio, **options, "clips": chunk})
    return jobs


def _state(folder: AudioFolder, file: str | list[str]) -> Any:
    """Size and modification time of a file, or of each of several."""
    return folder.files[file] if isinstance(file, str) else [folder.files[one] for one in file]


def _index(
    request: dict, corpus: Corpus, jobs: Sequence[dict], missing: list[dict]
) -> dict[str, Any]:
    entry, records = reader(request["dataset"]), []
    for job in jobs:
        record = finished(Path(job["path"]), job["digest"])
        if record is None:
            raise RuntimeError(f"{job['path']} is incomplete; is another process writing here?")
        records.append(record)
    samples = [sample for record in records for sample in record["clips"]]
    clips = _clips(samples)
    tasks: Counter = Counter()
    by_source: dict[str, list[str]] = {}
    for sample in samples:
        tasks.update(sample["tasks"])
        if "clips" not in sample:  # several conversations may be about a clip
            by_source.setdefault(sample["source_sha256"], []).append(sample["id"])
    return {
        **request,
        "about": entry.about,
        **_counts(samples),
        "seconds": round(sum(clip["seconds"] for clip in clips), 3),
        "tasks": dict(tasks),
        "labels": corpus.labels,
        "rates_hz": _counted(clip["rate_hz"] for clip in clips),
        "channels": _counted(clip["channels"] for clip in clips),
        "licence": entry.licence,
        "licences": dict(Counter(each["licence"] for each in samples if "licence" in each)),
        "shards": [
            {
                "name": record["shard"],
                **_counts(record["clips"]),
                "seconds": round(sum(clip["seconds"] for clip in _clips(record["clips"])), 3),
                "bytes": record["bytes"],
                "sha256": record["sha256"],
            }
            for record in records
        ],
        "missing": missing,
        "broken": [entry for record in records for entry in record["broken"]],
        "too_short": [entry for record in records for entry in record["too_short"]],
        "duplicates": [ids for ids in by_source.values() if len(ids) > 1],
        "problems": corpus.problems,
        "clip_sha256": {clip["key"]: clip["sha256"] for clip in clips},
    }


def _clips(samples: Sequence[dict]) -> list[dict]:
    """The clips of samples: themselves, or those of their conversations."""
    return [clip for sample in samples for clip in sample.get("clips", [sample])]


def _counts(samples: Sequence[dict]) -> dict[str, int]:
    """Number of clips, and of samples if they are conversations."""
    several = any("clips" in sample for sample in samples)
    return {"clips": len(_clips(samples)), **({"samples": len(samples)} if several else {})}


def _counted(values: Any) -> dict[str, int]:
    return {str(value): count for value, count in sorted(Counter(values).items())}


def _short(entry: Any) -> str:
    if isinstance(entry, dict):
        return f"{entry['id']}: {entry.get('reason', entry.get('seconds'))}"
    return ", ".join(entry) if isinstance(entry, list) else str(entry)
