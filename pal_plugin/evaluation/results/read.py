"""A run's folder read back: figures, answers, settings, and what a judge said of the answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pal_plugin.config.merging import flat
from pal_plugin.evaluation.metrics.judge import FORMS, read_judged
from pal_plugin.evaluation.prediction_cache import SUFFIX
from pal_plugin.evaluation.summary import by_task
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.spelling import first_of


@dataclass
class Run:
    """One run.

    Attributes:
        name: shown in the table.
        folder: where it was read.
        metrics: `metrics.json`: split, entry, figures.
        rows: answered rows by split.
        settings: `config.yaml` and the versions, by dotted name.
        missing: what could not be computed, with the reason, by split and entry.
        notes: what a reader must know, such as answers that were not judged.
    """

    name: str
    folder: Path
    metrics: dict[str, dict[str, dict]]
    rows: dict[str, list[dict]]
    settings: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_runs(folders: list[Path]) -> list[Run]:
    """Read run folders; equal names get their parent's in front.

    Raises:
        ConfigError: see `read_run`; or a folder given twice.
    """
    resolved = [folder.expanduser().resolve() for folder in folders]
    for folder in resolved:
        if resolved.count(folder) > 1:
            raise ConfigError(f"{folder} is given twice; each run once")
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    for run, folder in zip(runs, resolved, strict=True):
        if names.count(run.name) > 1:
            run.name = f"{folder.parent.name}/{folder.name}"
    return runs


def read_run(folder: Path) -> Run:
    """Read one run folder.

    Raises:
        ConfigError: there is no such folder, it holds no results, they cannot be read, or answers
            are missing.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; expected the folder of a run, such as output/RUN")
    if not (folder / "metrics.json").is_file():
        raise ConfigError(f"{folder} holds no results (metrics.json). {_why(folder)}")
    metrics = _parsed(folder / "metrics.json")
    rows = {}
    for split in metrics:
        path = folder / "result" / f"{split}.jsonl"
        if not path.is_file():
            raise ConfigError(
                f"{folder} holds metrics of {split!r} and no result/{path.name} with the answers"
            )
        rows[split] = _rows(path)
        for entry, answered in by_task(rows[split]).items():
            counted = metrics[split].get(entry, {}).get("n", 0)
            if len(answered) < counted:
                raise ConfigError(
                    f"{path} has {len(answered)} answers of {entry}, its figures are of {counted}"
                )
    run = Run(folder.resolve().name, folder, metrics, rows, _settings(folder))
    if (folder / "evaluation.json").is_file():
        _evaluation(run, _parsed(folder / "evaluation.json"))
    for split in rows:
        _judged(run, split)
    return run


def _why(folder: Path) -> str:
    partial = sorted((folder / "result").glob(f"*{SUFFIX}"))
    if partial:
        return (
            f"Its evaluation was interrupted ({partial[0].name}): the same command with "
            f"--job-id {folder.resolve().name} goes on"
        )
    if (folder / "config.yaml").is_file():
        return "It is a run that evaluated nothing yet"
    inner = sorted(f.parent.name for f in folder.glob("*/metrics.json"))
    if inner:
        return f"There are runs in it: {', '.join(inner[:5])}; give these"
    return "It is not the folder of a run"


def _parsed(path: Path, parse: Callable[[str], Any] = json.loads) -> Any:
    try:
        return parse(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _rows(path: Path) -> list[dict]:
    rows = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}, line {number} is not JSON: {error}") from error
    return rows


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    return flat(_parsed(path, yaml.safe_load) or {}) if path.is_file() else {}


def _evaluation(run: Run, evaluation: dict) -> None:
    for split, of_split in evaluation.items():
        origin = of_split.get("provenance") or {}
        run.settings |= flat(origin.get("versions") or {}, "versions")
        run.settings[f"{split}: questions, SHA-256"] = origin.get("rows_sha256")
        checkpoint = origin.get("checkpoint") or {}
        run.settings["checkpoint, SHA-256"] = checkpoint.get("sha256")
        clips = origin.get("clips") or {}
        if "asked about (run.eval_limit)" in clips:
            run.notes.append(
                f"{split}: the figures are of {clips['asked about (run.eval_limit)']} of "
                f"{clips['in the datasets']} clips, a part of the split (run.eval_limit)"
            )
        left_out = origin.get("left out") or []
        if left_out:
            run.notes.append(
                f"{split}: {len(left_out)} clips or questions left out: {first_of(left_out, '; ')}"
            )
        for entry, told in (of_split.get("figures") or {}).items():
            for name, reason in (told.get("missing") or {}).items():
                run.missing[f"{split} {entry} {name}"] = reason


def _judged(run: Run, split: str) -> None:
    """Scores of `SPLIT.ENTRY.judged.jsonl` become figures of the rows."""
    for entry, rows in by_task(run.rows[split]).items():
        task = rows[0]["task"]
        path = run.folder / "result" / f"{split}.{entry.replace('/', '.')}.judged.jsonl"
        if task not in FORMS or not path.is_file():
            continue
        scores = read_judged(path, FORMS[task])
        known = {f"{row['id']}{key}" for row in rows for key in ("", "_masked")}
        stray = sorted(scores.keys() - known)
        if stray:
            raise ConfigError(f"{path} judges {stray[0]!r}, which is not among the answers")
        for row in rows:
            for key in ("", "_masked"):
                found = scores.get(f"{row['id']}{key}")
                if found is not None:
                    row[f"figures{key}"] = dict(found)
        unread = [name for name, found in scores.items() if found is None]
        # Of masked answers none has to be judged; if some are, all should be.
        masked = any(f"{row['id']}_masked" in scores for row in rows)
        asked = [f"{row['id']}{key}" for key in ("", "_masked")[: 1 + masked] for row in rows]
        absent = [name for name in asked if name not in scores]
        for names, what in ((absent, "answers not judged"), (unread, "judgements not readable")):
            if names:
                run.notes.append(
                    f"{split} {entry}: {len(names)} of {len(asked)} {what}, they count in no "
                    f"score: {first_of(names, '; ')}"
                )
        for name in FORMS[task].aspects:
            run.missing.pop(f"{split} {entry} {name}", None)
