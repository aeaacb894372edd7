"""Finished runs as one file each, without weights, so that another machine can go on with the rest.

A record holds what the page needs: settings, answers and the loss. What belongs to a machine (such
as paths) is not in it; the start of all runs is named by a hash of its weights.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from evidence.log import curve
from evidence.planned import Planned
from pal_plugin.config.merging import flat
from pal_plugin.evaluation.results.read import read_run
from pal_plugin.training.resuming import FREE
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.files import file_sha256, replacing
from pal_plugin.utils.spelling import first_of

SPLIT = "val"
MASKED = "_masked"
_START = "model.checkpoint"
#: Settings that differ between seeds, or from machine to machine, and make no other experiment.
_OWN = {"run.seed", "run.name", "run.evaluate", *(f"run.{key}" for key in FREE)}
_LOCAL = (".order_seed", ".storage", ".cache.folder", ".cache.limit_gb")
_SECTIONS = ("model", "datasets", "run")


def record_of(run: Planned) -> dict[str, Any]:
    """The record of a run: from its folder if it is finished there, otherwise as kept.

    Raises:
        ConfigError: a part of the clips was evaluated, or without the masked control.
    """
    if not run.finished:
        return json.loads(gzip.decompress(run.record.read_bytes()))
    config = yaml.safe_load((run.folder / "config.yaml").read_text("utf-8"))
    if config["run"].get("eval_limit"):
        raise ConfigError(f"{run.folder} was evaluated on a part of the clips (run.eval_limit)")
    rows = read_run(run.folder).rows.get(SPLIT)
    if rows is None:
        raise ConfigError(f"{run.folder} has no answers of the split {SPLIT!r}")
    if any(f"prediction{MASKED}" not in row for row in rows):
        raise ConfigError(f"{run.folder} lacks masked answers (run.masked_audio)")
    return {
        "name": run.folder.name,
        "kind": run.kind,
        "seed": run.seed,
        "experiment": experiment(config),
        "curve": {str(step): loss for step, loss in curve(run.folder).items()},
        "rows": rows,
    }


def keep(run: Planned) -> Path:
    """Write the record of a finished run to its place. Returns the file."""
    run.record.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(record_of(run), ensure_ascii=False)
    with replacing(run.record) as path:
        path.write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    return run.record


def experiment(config: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be the same for all runs, flat; the start by the hash of its weights."""
    values = flat({name: config.get(name) for name in _SECTIONS})
    found = {k: v for k, v in values.items() if k not in _OWN and not k.endswith(_LOCAL)}
    start = found.get(_START)
    if start and Path(start).is_file():
        found[_START] = _hash(Path(start))
    return found


def require_alike(first: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Refuse two records of different experiments.

    Needs their `name`, `kind` and `experiment` only, so that it also serves before a training.

    Raises:
        ConfigError: names settings that differ, with both values.
    """
    mine, theirs = first["experiment"], other["experiment"]
    own = ("model.model_type", "model.routing.") if first["kind"] != other["kind"] else ()
    names = [
        name
        for name in {**mine, **theirs}
        if mine.get(name) != theirs.get(name) and not name.startswith(own)
    ]
    if names:
        told = [f"{n}: {mine.get(n)!r} and {theirs.get(n)!r}" for n in names]
        raise ConfigError(
            f"{first['name']} and {other['name']} are not the same experiment "
            f"({first_of(told, '; ')})"
        )


@cache
def _hash(path: Path) -> str:
    return f"sha256:{file_sha256(path)[:16]}"
