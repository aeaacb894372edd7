"""Provenance of an evaluation, to reproduce it: prompts, settings, versions, hashes, counts.

It goes into `evaluation.json`, so that `metrics.json` has metrics only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pal_plugin.evaluation.fingerprints import file_facts, files_named, model_facts
from pal_plugin.evaluation.prediction_cache import settings_hash
from pal_plugin.version import __version__

#: Keys of `run` that answers depend on.
RUN_KEYS = (
    *("task", "seed", "amp", "masked_audio", "max_new_tokens", "caption_examples"),
    *("generation", "evaluation", "eval_limit"),
)
_PACKAGES = (
    *("torch", "transformers", "tokenizers", "peft", "numpy", "soundfile"),
    *("jiwer", "scikit-learn", "pycocoevalcap", "aac-metrics"),
)
#: Most frequent wordings of a task that are listed; the others are in the rows.
_WORDINGS = 20


def settings(config: dict, checkpoint: Path | None) -> dict[str, Any]:
    """The settings that answers depend on: values, and fingerprints of the files they name.

    Args:
        config: plain sections `model`, `datasets`, `run`.
        checkpoint: file of the evaluated weights, None if there is none.
    """
    model = {k: v for k, v in config["model"].items() if k != "checkpoint"}
    weights = file_facts(checkpoint) or {}
    return {
        "pal_plugin": __version__,
        "model": model,
        "checkpoint": weights.get("sha256") or weights,
        "weights": _weights(config["model"]),
        "datasets": config["datasets"],
        "data": _data(config["datasets"]),
        "run": {key: config["run"].get(key) for key in RUN_KEYS},
        "files": files_named(config["run"].get("evaluation")),
    }


def describe(
    config: dict,
    model: Any,
    rows: Sequence[dict],
    *,
    checkpoint: Path | None,
    left_out: Sequence[str],
    clips: int | None,
    asked: int | None = None,
    device: Any,
) -> dict[str, Any]:
    """The provenance of one split's results.

    Args:
        config: the run's configuration as plain values.
        model: the evaluated model.
        rows: answered rows.
        checkpoint: as in `settings`.
        left_out: names and reasons of skipped clips or questions.
        clips: of the datasets, None if unknown; without those missing at build time, and with
            those that no question was asked about.
        asked: clips evaluated under `run.eval_limit`, None if all were.
        device: of the model.
    """
    run = config["run"]
    part = {} if asked is None else {"asked about (run.eval_limit)": asked}
    answered = len({(row.get("dataset"), row["sample_id"]) for row in rows if "sample_id" in row})
    return {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "settings_sha256": settings_hash(settings(config, checkpoint)),
        "versions": versions(),
        "device": str(device),
        "seed": run.get("seed"),
        "masked_audio": run.get("masked_audio"),
        "generation": {
            "max_new_tokens": run.get("max_new_tokens"),
            **{k: v for k, v in (run.get("generation") or {}).items() if v is not None},
            "otherwise": "greedy, as AudioLLM.generate",
        },
        "evaluation": run.get("evaluation"),
        "checkpoint": file_facts(checkpoint),
        "weights": _weights(config["model"]),
        "prompt": _prompt(model, rows),
        "questions": _questions(rows),
        "data": _data(config["datasets"]),
        "rows": len(rows),
        "rows_sha256": rows_hash(rows),
        "clips": {
            "in the datasets": clips,
            **part,
            "answered": answered,
            "left out": len(left_out),
        },
        "left out": list(left_out),
    }


def versions() -> dict[str, str]:
    """Versions of this package, Python, and the packages that compute answers and scores."""
    found = {"pal_plugin": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def rows_hash(rows: Sequence[dict]) -> str:
    """SHA-256 of ids, questions and references, independent of their order."""
    asked = sorted(
        settings_hash([row.get(key) for key in ("dataset", "id", "task", "question", "answers")])
        for row in rows
    )
    return hashlib.sha256("".join(asked).encode()).hexdigest()


def _weights(model: dict) -> dict[str, Any]:
    """Sources of the weights of encoders, LLM and connectors, with hashes."""
    sources = {
        f"encoders.{name}": (entry or {}).get("checkpoint")
        for name, entry in (model.get("encoders") or {}).items()
    }
    sources["llm"] = (model.get("llm") or {}).get("path")
    found = {name: model_facts(str(source)) for name, source in sources.items() if source}
    return found | files_named(model.get("connectors"))


def _data(datasets: dict) -> dict[str, Any]:
    """By dataset, fingerprints of the files it names, except those of its processors."""
    return {
        name: files_named({k: v for k, v in entry.items() if not k.endswith("_processor")})
        for name, entry in datasets.items()
    }


def _prompt(model: Any, rows: Sequence[dict]) -> dict[str, Any] | None:
    """The LLM's prompt format, with an example as the LLM reads it."""
    text = getattr(model, "text", None)
    if text is None:
        return None
    example = rows[0]["question"] if rows and "question" in rows[0] else "What do you hear?"
    return {
        "form": text.prompt,
        "system": text.system,
        "example": text.tokenizer.decode(text.prompt_ids(example)),
    }


def _questions(rows: Sequence[dict]) -> dict[str, dict]:
    """By task: number of wordings, and the most frequent ones with their counts."""
    by_task: dict[str, Counter] = {}
    for row in rows:
        if "question" in row:
            by_task.setdefault(row["task"], Counter())[row["question"]] += 1
    return {
        task: {"wordings": len(counts), "most frequent": dict(counts.most_common(_WORDINGS))}
        for task, counts in by_task.items()
    }
