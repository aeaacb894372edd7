"""Multiple choice and chat: MMAU, MuChoMusic, AIR-Bench (foundation and chat).

Sources: the files of Sakshi113/MMAU, mulab-mir/muchomusic and OFA-Sys/AIR-Bench. An entry whose
answer is not among its choices is reported as a problem, since it cannot be answered correctly.
"""

from __future__ import annotations

import ast
import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.corpora.items import multiple_choice, open_question
from pal_plugin.corpora.locate import AudioFolder, without_extension
from pal_plugin.corpora.records import Corpus, Record, grouped, record_id
from pal_plugin.corpora.tables import file_name, listed, read_csv, read_rows

_MMAU_FACTS = ("task", "category", "sub-category", "difficulty", "split", "dataset")
_MUCHO = ("dataset", "dataset_identifier", "question", "correct_answer")
#: How MuChoMusic's scripts name MusicCaps' clips: `[VIDEO]-[START-END].wav`.
_MUSICCAPS = re.compile(r"\[(.+)\]-\[(\d+)-\d+\]")
_DISTRACTORS = ("distractor_1_answer", "distractor_2_answer", "distractor_3_answer")


def read_mmau(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """`id, audio_id, question, choices, answer, task, category, sub-category, difficulty, ...`.

    `choices` is a list of any length, or its text.
    """
    rows, problems = [], []
    for path in files:
        for row in read_rows(path, ("id", "audio_id", "question", "choices", "answer")):
            with listed(problems, row, f"id {row.get('id')}"):
                item = multiple_choice(
                    "mmau",
                    row["question"],
                    _listed(row["choices"]),
                    row["answer"],
                    str(row.get("task", "mmau")),
                    id=row["id"],
                    facts=row.only(*_MMAU_FACTS),
                )
                audio = file_name(row, "audio_id")
                rows.append(Record(record_id(audio), audio, [item], row.only("split")))
    return Corpus(grouped(rows), None, problems)


def read_muchomusic(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Columns `dataset, dataset_identifier, question, correct_answer, distractor_1_answer, ...`.

    Options are shuffled with a seed derived from the question, so the order does not depend on
    other rows. For `sdd` the audio is `12/345.2min.mp3` or `345.mp3` (MTG-Jamendo); for `musiccaps`
    it is the video id, alone or as `[ID]-[START-END].wav` (the table has no times, so any match).
    Identifiers end in `.json`.
    """
    rows, problems = [], []
    timed = _timed_files(folder)
    for path in files:
        for number, row in enumerate(read_csv(path, (*_MUCHO, *_DISTRACTORS))):
            audio, others = _music_names(row["dataset"], row["dataset_identifier"], timed)
            choices = [row["correct_answer"], *(row[k] for k in _DISTRACTORS if row[k])]
            random.Random(f"{row['dataset_identifier']} {row['question']}").shuffle(choices)
            facts = {
                "genre": row.get("genre", ""),
                "dataset": row["dataset"],
                "reasoning": [str(skill) for skill in _literal(row.get("music_reasoning", ""))],
                "knowledge": [str(skill) for skill in _literal(row.get("music_knowledge", ""))],
            }
            with listed(problems, row):
                item = multiple_choice(
                    "muchomusic",
                    row["question"],
                    choices,
                    row["correct_answer"],
                    "muchomusic",
                    id=f"{path.stem}-{number}",
                    facts=facts,
                )
                rows.append(Record(audio, audio, [item], {"dataset": row["dataset"]}, others))
    return Corpus(grouped(rows), None, problems)


def read_airbench(files: Sequence[Path], folder: AudioFolder) -> Corpus:
    """Foundation (`choice_a .. choice_d`) and chat (`meta_info`) entries; a file may mix both.

    The audio is `TASK_DATASET/PATH`, or `PATH` alone.
    """
    rows, problems = [], []
    for path in files:
        needed = ("uniq_id", "path", "task_name", "dataset_name", "question", "answer_gt")
        for row in read_rows(path, needed):
            with listed(problems, row, f"id {row.get('uniq_id')}"):
                name = file_name(row, "path")
                audio = f"{row['task_name']}_{row['dataset_name']}/{name}"
                facts = {"task": row["task_name"]}
                item = _airbench_item(row)
                rows.append(Record(record_id(audio), audio, [item], facts, (name,)))
    return Corpus(grouped(rows), None, problems)


def _airbench_item(row: dict[str, Any]) -> dict[str, Any]:
    facts = {"task": row["task_name"], "dataset": row["dataset_name"]}
    more = {"id": str(row["uniq_id"]), "facts": facts}
    if "choice_a" not in row:
        facts["meta_info"] = row.get("meta_info")
        return open_question("chat", row["task_name"], row["question"], row["answer_gt"], **more)
    given = [row.get(f"choice_{letter}") for letter in "abcd"]
    choices = [choice for choice in given if choice not in (None, "")]
    answer = str(row["answer_gt"])
    letter = answer.strip().upper()
    if answer not in map(str, choices) and len(letter) == 1 and letter in "ABCD":
        # Indexes all four choices: an empty one keeps its letter.
        answer = str(given["ABCD".index(letter)] or "")
    return multiple_choice("airbench", row["question"], choices, answer, row["task_name"], **more)


def _listed(choices: Any) -> Any:
    """The choices as a list; one public copy stores them as JSON text or Python literals."""
    if not isinstance(choices, str):
        return choices
    try:
        return json.loads(choices)
    except json.JSONDecodeError:
        return _literal(choices)


def _literal(text: str) -> list[Any]:
    """Parses a Python literal list; returns an empty list if it is none."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return []
    return list(value) if isinstance(value, list | tuple) else []


def _timed_files(folder: AudioFolder) -> dict[str, dict[str, str]]:
    """Files named `[VIDEO]-[START-END]`, by video id and start."""
    found: dict[str, dict[str, str]] = {}
    for path in folder.files:
        named = _MUSICCAPS.fullmatch(without_extension(path).rpartition("/")[2])
        if named:
            found.setdefault(named[1], {})[named[2]] = path
    return found


def _music_names(
    dataset: str, identifier: str, timed: dict[str, dict[str, str]]
) -> tuple[str, tuple[str, ...]]:
    name = identifier.removesuffix(".json")
    if dataset == "sdd" and name.isdigit():
        folder = f"{int(name) % 100:02d}"
        plain = str(int(name))
        return plain, (f"{folder}/{plain}.mp3", f"{folder}/{plain}.2min.mp3", f"{plain}.2min.mp3")
    if dataset == "musiccaps":
        video, _, start = name.rpartition("_")
        video, files = video or name, timed.get(video or name, {})
        if start not in files and len(files) != 1:  # ambiguous: do not guess
            files = {}
        found = [files.get(start) or next(iter(files.values()))] if files else []
        return video, (name, *found, f"Y{video}", f"[{video}]")
    return name, (f"{dataset}/{name}", f"{dataset}_{name}")
