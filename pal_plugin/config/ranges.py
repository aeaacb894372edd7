"""What the keys of `run:` may be: one table, checked when a configuration is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Number:
    """A number from `least` on, below `below`.

    Args:
        whole: no fractions.
        null: null is allowed.
        words: texts that are allowed in its place.
    """

    least: float = 0
    below: float = math.inf
    whole: bool = False
    null: bool = False
    words: tuple[str, ...] = ()

    def holds(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return self.null if value is None else value in self.words
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return self.least <= value < self.below and (not self.whole or value == int(value))

    def __str__(self) -> str:
        upper = f" and less than {self.below:g}" if self.below < math.inf else ""
        words = [*self.words, *(["null"] if self.null else [])]
        kind = "a whole number, " if self.whole and not self.least else ""
        return ", or ".join([f"{kind}{self.least:g} or more{upper}", *words])


@dataclass(frozen=True)
class OneOf:
    """One of a few values; `told` is how a message lists them."""

    values: tuple
    told: str

    def holds(self, value: Any) -> bool:
        return any(value == known and type(value) is type(known) for known in self.values)

    def __str__(self) -> str:
        return self.told


_COUNT, _SIZE = Number(0, whole=True), Number(1, whole=True)
_SIZE_OR_NULL = Number(1, whole=True, null=True)
_FAULT = OneOf(("stop", "skip"), "stop or skip")
RANGES: dict[str, Number | OneOf] = {
    "amp": OneOf((None, False, True, "none", "fp32", "bf16", "fp16"), "none (fp32), bf16 or fp16"),
    "torch_threads": Number(1, whole=True, null=True, words=("auto",)),
    "parallel": OneOf(("ddp", "fsdp"), "one of ddp, fsdp"),
    "timeout_s": Number(1),
    "save_every": _SIZE_OR_NULL,
    "keep_checkpoints": _SIZE,
    "on_nonfinite": _FAULT,
    "on_out_of_memory": _FAULT,
    "seed": _COUNT,
    "max_epoch": _COUNT,  # 0: the model as it is, evaluated
    "steps_per_epoch": _SIZE_OR_NULL,
    "max_minutes": Number(0.01, null=True),
    "batch_size_train": _SIZE,
    "batch_size_eval": _SIZE,
    "num_workers": _COUNT,
    "length_pool": _SIZE,
    "lanes": _SIZE_OR_NULL,
    "accum_grad_iters": _SIZE,
    "grad_clip": Number(0, null=True),
    "init_lr": Number(),
    "min_lr": Number(),
    "warmup_lr": Number(),
    "warmup_steps": _COUNT,
    "weight_decay": Number(),
    "beta2": Number(0, below=1),
    "log_freq": _SIZE,
    "eval_limit": _SIZE_OR_NULL,
    "max_new_tokens": _SIZE,
    "caption_examples": _COUNT,
}


def problems(run: Mapping[str, Any]) -> list[str]:
    """A message for each key of a `run:` section that is out of its range."""
    found = [
        f"run.{key} is {run[key]!r}; expected {known}"
        for key, known in RANGES.items()
        if key in run and not known.holds(run[key])
    ]
    for name, scale in (run.get("lr_scale") or {}).items():
        if not Number().holds(scale):
            found.append(f"run.lr_scale.{name} is {scale!r}; expected {Number()}")
    return found
