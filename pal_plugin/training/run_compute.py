"""Compute of a run, for its report: FLOPs counted at the shapes that the run logged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pal_plugin.config.merging import present
from pal_plugin.evaluation.example_clips import kept_clips
from pal_plugin.planning.compute import compute_of
from pal_plugin.planning.workload import Workload
from pal_plugin.training.metric_logger import LOG
from pal_plugin.training.resuming import saved_config
from pal_plugin.utils.errors import ConfigError

_SUMS = ("clips", "rows", "audio_s", "answer_tokens", "text_tokens")
#: Decimal prefixes of FLOPs.
_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"))


@dataclass(frozen=True)
class Shape:
    """Shape of a run's input.

    Attributes:
        work: of one process, with means where the run logged them, else the defaults of `Workload`.
        origin: where its figures are from, for the reader.
    """

    work: Workload
    origin: str


def compute_texts(folder: Path, processes: int = 1) -> dict[str, str]:
    """FLOPs of a training step (of all processes) and of an answer, by name, as texts.

    An evaluation has only those of an answer.

    Args:
        folder: a run folder.
        processes: of the run.

    Raises:
        OSError: no config.yaml.
        ConfigError: the model cannot be counted.
    """
    cfg = saved_config(folder)
    if "llm" not in cfg["model"]:
        raise ConfigError("only a model with encoders, connectors and an LLM can be counted")
    trains = not cfg["run"].get("evaluate")
    shape = shape_of(folder, cfg)
    work, found = shape.work, {}
    compute = compute_of(cfg, work, trains=trains)
    texts = f"{work.text - work.answer} tokens of prompt and {work.answer} of answer"
    if compute.forward is not None:
        asked = "question" if work.rows_per_clip == 1 else "questions"
        samples = work.clips * work.accumulate * processes
        found["FLOPs of a training step"] = (
            f"{flops(compute.step * processes)}: {samples} samples of {work.clip_s:g} s of audio "
            f"with {work.rows_per_clip} {asked} each, {texts} ({shape.origin})"
        )
        for part, number in compute.forward.items():
            found[f"- {part}, forward"] = flops(number * processes)
        if _keeps_states(cfg):
            found["- encoders, forward"] += ", only for clips heard for the first time (cache)"
        found["- all, backward"] = flops(compute.backward * processes)
    if compute.answer is not None:
        found["FLOPs of an answer"] = (
            f"{flops(sum(compute.answer.values()))}: {work.clip_s:g} s of audio, {texts} "
            f"({shape.origin})"
        )
        found |= {f"- {part}": flops(number) for part, number in compute.answer.items()}
    return found


def shape_of(folder: Path, cfg: dict[str, Any]) -> Shape:
    """The mean sample of a run's training, or of the clips that an evaluation kept.

    A conversation about several clips counts as one about a clip of their length.

    Args:
        folder: a run folder.
        cfg: its configuration.
    """
    sums, run = _logged(folder), cfg["run"]
    given: dict[str, Any] = {}
    origin = "means of the training"
    if sums["clips"] and sums["text_tokens"]:
        answer = max(1, round(sums["answer_tokens"] / sums["rows"]))
        given["clip_s"] = _tenths(sums["audio_s"] / sums["clips"])
        given["rows_per_clip"] = max(1, round(sums["rows"] / sums["clips"]))
        given["answer"] = answer
        given["text"] = max(answer + 1, round(sums["text_tokens"] / sums["rows"]))
    else:
        asked = [d.get("items_per_clip") or 1 for d in (cfg.get("datasets") or {}).values()]
        given["rows_per_clip"] = max(asked, default=1)
        seconds = [clip.seconds for of in kept_clips(folder / "result").values() for clip in of]
        if seconds:
            given["clip_s"] = _tenths(sum(seconds) / len(seconds))
            origin = f"length: mean of {len(seconds)} evaluated clips; tokens: assumed"
        else:
            origin = "assumed"
    work = Workload(
        clips=int(run["batch_size_train"]), accumulate=int(run["accum_grad_iters"]), **given
    )
    return Shape(work, origin)


def flops(number: float) -> str:
    """A number of FLOPs with three digits and a decimal prefix, such as "96.3 GFLOP"."""
    for size, prefix in _PREFIXES:
        if number >= size:
            return f"{number / size:.3g} {prefix}FLOP"
    return f"{number:.0f} FLOP"


def _logged(folder: Path) -> dict[str, float]:
    """Sums over the epochs of `log.txt`; all 0 where none was logged."""
    epochs = {}
    if (folder / LOG).is_file():
        for line in (folder / LOG).read_text("utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # partial last line of a killed process
                continue
            if entry.get("kind") == "train":
                epochs[entry["epoch"]] = entry
    return {name: sum(entry.get(name) or 0 for entry in epochs.values()) for name in _SUMS}


def _tenths(seconds: float) -> float:
    return max(0.1, round(seconds, 1))


def _keeps_states(cfg: dict[str, Any]) -> bool:
    """Whether the states of all encoders are kept (`model.encoders.*.cache`)."""
    return all(entry.get("cache") for entry in present(cfg["model"]["encoders"]).values())
