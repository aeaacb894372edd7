"""Read a run folder: metrics, answers, settings, and a judge's scores of the answers."""

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
        name: in the table.
        folder: the run folder.
        metrics: `metrics.json`: metrics by split and entry.
        rows: answered rows by split.
        settings: `config.yaml` and package versions, by dotted name.
        missing: metrics that could not be computed, with the reason, by split and entry.
        notes: remarks for the reader, such as answers that were not judged.
    """

    name: str
    folder: Path
    metrics: dict[str, dict[str, dict]]
    rows: dict[str, list[dict]]
    settings: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_runs(folders: list[Path]) -> list[Run]:
    """Read run folders; equal names are prefixed by their parent folder.

    Raises:
        ConfigError: as in `read_run`, or a folder is given twice.
    """
    resolved = [folder.expanduser().resolve() for folder in folders]
    for folder in resolved:
        if resolved.count(folder) > 1:
            raise ConfigError(f"{folder} is given twice; name each run once")
    runs = [read_run(folder) for folder in folders]
    names = [run.name for run in runs]
    for run, folder in zip(runs, resolved, strict=True):
        if names.count(run.name) > 1:
            run.name = f"{folder.parent.name}/{folder.name}"
    return runs


def read_run(folder: Path, *, evaluated: bool = True) -> Run:
    """Read one run folder.

    Args:
        folder: of the run.
        evaluated: False: a training that evaluates nothing, which has no results.

    Raises:
        ConfigError: the folder or its results are missing, unreadable or incomplete.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; expected a run folder, such as output/RUN")
    if not evaluated:
        return Run(folder.resolve().name, folder, {}, {}, _settings(folder))
    if not (folder / "metrics.json").is_file():
        raise ConfigError(f"{folder} has no results (metrics.json). {_why(folder)}")
    metrics = _parsed(folder / "metrics.json")
    rows = {}
    for split in metrics:
        path = folder / "result" / f"{split}.jsonl"
        if not path.is_file():
            raise ConfigError(
                f"{folder} has metrics of {split!r} but no answers (result/{path.name}); copy the "
                "whole run folder"
            )
        rows[split] = _rows(path)
        for entry, answered in by_task(rows[split]).items():
            counted = metrics[split].get(entry, {}).get("n", 0)
            if len(answered) < counted:
                raise ConfigError(
                    f"{path}: expected {counted} answers of {entry}, read {len(answered)}; "
                    "evaluate again"
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
            f"Its evaluation was interrupted ({partial[0].name}): resume it with the same command "
            f"and --job-id {folder.resolve().name}"
        )
    if (folder / "config.yaml").is_file():
        return "The run has not evaluated anything yet"
    inner = sorted(f.parent.name for f in folder.glob("*/metrics.json"))
    if inner:
        return f"It contains run folders: {', '.join(inner[:5])}; give these instead"
    return "It is not a run folder"


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
            raise ConfigError(f"{path}, line {number} is not valid JSON: {error}") from error
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
                f"{split}: evaluated {clips['asked about (run.eval_limit)']} of "
                f"{clips['in the datasets']} clips, a part of the split (run.eval_limit)"
            )
        left_out = origin.get("left out") or []
        if left_out:
            run.notes.append(
                f"{split}: {len(left_out)} clips or questions skipped: {first_of(left_out, '; ')}"
            )
        for entry, facts in (of_split.get("figures") or {}).items():
            for name, reason in (facts.get("missing") or {}).items():
                run.missing[f"{split} {entry} {name}"] = reason


def _judged(run: Run, split: str) -> None:
    """Add the scores of `SPLIT.ENTRY.judged.jsonl` to the rows."""
    for entry, rows in by_task(run.rows[split]).items():
        task = rows[0]["task"]
        path = run.folder / "result" / f"{split}.{entry.replace('/', '.')}.judged.jsonl"
        if task not in FORMS or not path.is_file():
            continue
        scores = read_judged(path, FORMS[task])
        known = {f"{row['id']}{key}" for row in rows for key in ("", "_masked")}
        stray = sorted(scores.keys() - known)
        if stray:
            raise ConfigError(
                f"{path} judges {stray[0]!r}, which is not among the answers of this run"
            )
        for row in rows:
            for key in ("", "_masked"):
                found = scores.get(f"{row['id']}{key}")
                if found is not None:
                    row[f"figures{key}"] = dict(found)
        unread = [name for name, found in scores.items() if found is None]
        # Masked answers need not be judged; if some are, all should be.
        masked = any(f"{row['id']}_masked" in scores for row in rows)
        asked = [f"{row['id']}{key}" for key in ("", "_masked")[: 1 + masked] for row in rows]
        absent = [name for name in asked if name not in scores]
        for names, what in ((absent, "answers not judged"), (unread, "judgements unreadable")):
            if names:
                run.notes.append(
                    f"{split} {entry}: {len(names)} of {len(asked)} {what}, excluded from the "
                    f"scores: {first_of(names, '; ')}"
                )
        for name in FORMS[task].aspects:
            run.missing.pop(f"{split} {entry} {name}", None)
