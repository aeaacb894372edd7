"""What is needed to repeat an evaluation: prompts, settings, versions, hashes, counts.

It goes into `evaluation.json`, so that `metrics.json` stays a table of figures.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from pal_plugin.models.locations import resolve
from pal_plugin.runners.answered import settings_hash
from pal_plugin.version import __version__

#: Keys of `run` that answers depend on.
RUN_KEYS = (
    "task",
    "seed",
    "amp",
    "masked_audio",
    "max_new_tokens",
    "caption_examples",
    "generation",
    "evaluation",
)
_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "numpy",
    "soundfile",
    "jiwer",
    "scikit-learn",
    "pycocoevalcap",
    "aac-metrics",
)
#: Wordings of a task that are written out; the others are in the rows.
_WORDINGS = 20
#: Files larger than this are named with their size only.
_LARGEST_BYTES = 4 * 2**30


def settings(config: dict, checkpoint: Path | None) -> dict[str, Any]:
    """What answers depend on, out of a plain configuration.

    Args:
        config: sections `model`, `datasets`, `run`.
        checkpoint: the file whose weights are evaluated, None where there is none.
    """
    model = {k: v for k, v in config["model"].items() if k != "checkpoint"}
    weights = file_facts(checkpoint) or {}
    return {
        "pal_plugin": __version__,
        "model": model,
        "checkpoint": weights.get("sha256") or weights,
        "datasets": config["datasets"],
        "run": {key: config["run"].get(key) for key in RUN_KEYS},
    }


def describe(
    config: dict,
    model: Any,
    rows: Sequence[dict],
    *,
    checkpoint: Path | None,
    left_out: Sequence[str],
    clips: int | None,
    device: Any,
) -> dict[str, Any]:
    """The provenance of one split's results.

    Args:
        config: the run's configuration as plain values.
        model: what was evaluated.
        rows: answered rows.
        checkpoint: as in `settings`.
        left_out: names and reasons of clips that were not asked about.
        clips: of the datasets, as far as they know.
        device: what it ran on.
    """
    run = config["run"]
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
        "data": {name: _files_in(entry) for name, entry in config["datasets"].items()},
        "rows": len(rows),
        "rows_sha256": rows_hash(rows),
        "clips": {
            "in the datasets": clips,
            "asked": answered + len(left_out),
            "answered": answered,
            "left out": list(left_out),
        },
    }


def versions() -> dict[str, str]:
    """Versions of this package, Python, and what computes answers and scores."""
    found = {"pal_plugin": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def rows_hash(rows: Sequence[dict]) -> str:
    """SHA-256 of what was asked: ids, questions and references, in any order."""
    asked = sorted(
        settings_hash([row.get(key) for key in ("dataset", "id", "task", "question", "answers")])
        for row in rows
    )
    return hashlib.sha256("".join(asked).encode()).hexdigest()


def file_facts(path: Path | None) -> dict[str, Any] | None:
    """Path and SHA-256 of a file; of a very large one its size instead."""
    if path is None or not path.is_file():
        return None
    facts = path.stat()
    if facts.st_size > _LARGEST_BYTES:
        return {"path": str(path), "bytes": facts.st_size}
    return {"path": str(path), "sha256": _sha256(str(path), facts.st_size, facts.st_mtime_ns)}


@lru_cache(maxsize=256)
def _sha256(path: str, size: int, modified_ns: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _weights(model: dict) -> dict[str, Any]:
    """Of the encoders and the LLM: where they come from, with hashes of local files."""
    sources = {
        f"encoders.{name}": (entry or {}).get("checkpoint")
        for name, entry in (model.get("encoders") or {}).items()
    }
    sources["llm"] = (model.get("llm") or {}).get("path")
    return {name: _weight_facts(str(source)) for name, source in sources.items() if source}


def _weight_facts(source: str) -> dict[str, Any]:
    path = Path(resolve(source)).expanduser()
    if path.is_dir():
        files = sorted([*path.glob("*.safetensors"), *path.glob("*.bin")])
        return {"source": source, "files": {f.name: file_facts(f) for f in files}}
    return {"source": source, **(file_facts(path) or {})}


def _prompt(model: Any, rows: Sequence[dict]) -> dict[str, Any] | None:
    """The form of the LLM's prompts, with one as the LLM reads it."""
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
    """By task: how many wordings, and the most frequent of them with their counts."""
    by_task: dict[str, Counter] = {}
    for row in rows:
        if "question" in row:
            by_task.setdefault(row["task"], Counter())[row["question"]] += 1
    return {
        task: {"wordings": len(counts), "most frequent": dict(counts.most_common(_WORDINGS))}
        for task, counts in by_task.items()
    }


def _files_in(value: Any) -> dict[str, Any]:
    """Hashes of all files that a dataset's section names: annotations, shards' indexes."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return {k: v for part in inner for k, v in _files_in(part).items()}
    if isinstance(value, str) and "\n" not in value and 0 < len(value) < 1024:
        path = Path(value).expanduser()
        try:
            facts = file_facts(path)
        except OSError:  # a name that no file system takes
            return {}
        return {value: facts} if facts else {}
    return {}
