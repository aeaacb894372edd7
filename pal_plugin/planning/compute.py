"""FLOPs of a training step and of an answer by part, as the report of a run shows them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from pal_plugin.planning.plan import AUTOCAST
from pal_plugin.planning.skeleton import build_skeleton
from pal_plugin.planning.step import count_flops
from pal_plugin.planning.workload import Workload

#: Parts of a model, with the beginning of their components' names.
PARTS = {"encoders": "encoders.", "connectors": "connectors.", "LLM": "llm"}


@dataclass(frozen=True)
class Compute:
    """FLOPs of a model.

    Attributes:
        forward: of an optimizer step of one process, by part (`PARTS`); None: not asked for.
        backward: of the same step, with the recomputation of activation checkpointing.
        answer: of one answer, by part; None for a stage that only aligns a connector.
    """

    forward: dict[str, int] | None
    backward: int
    answer: dict[str, int] | None

    @property
    def step(self) -> int:
        """FLOPs of an optimizer step of one process, forward and backward."""
        return sum((self.forward or {}).values()) + self.backward


def compute_of(cfg: Mapping[str, Any], work: Workload, *, trains: bool = True) -> Compute:
    """Count a resolved configuration, once per process for the same settings.

    A step is counted as `pal plan` does. An answer is the forward pass of one clip, its prompt and
    `work.answer` tokens, which is what generation with a KV cache computes.

    Args:
        cfg: sections as plain containers.
        work: of one process; its micro-batches are summed.
        trains: False: only the answer.

    Raises:
        ConfigError: as in `build_skeleton`.
    """
    model = json.dumps(cfg["model"], sort_keys=True)
    run = cfg["run"]
    amp, checkpointing = str(run["amp"] or "none"), bool(run["activation_checkpointing"])
    return _counted(model, work, amp, checkpointing, trains)


@lru_cache(maxsize=32)
def _counted(section: str, work: Workload, amp: str, checkpointing: bool, trains: bool) -> Compute:
    model = build_skeleton(json.loads(section)).model
    forward, backward, answer = None, 0, None
    if trains:
        counted, backward = count_flops(
            model, work, autocast=AUTOCAST[amp], checkpointing=checkpointing
        )
        forward = {part: n * work.accumulate for part, n in _by_part(counted).items()}
    if model.stage.aligns is None:
        one = replace(work, clips=1, rows_per_clip=1, accumulate=1)
        answer = _by_part(count_flops(model, one, backward=False)[0])
    return Compute(forward, backward * work.accumulate, answer)


def _by_part(counted: Mapping[str, int]) -> dict[str, int]:
    return {
        part: sum(n for name, n in counted.items() if name.startswith(start))
        for part, start in PARTS.items()
    }
