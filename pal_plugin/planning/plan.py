"""The plan of a recipe: parameters, FLOPs and memory for a number of GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pal_plugin.config.ranges import WORLD_SIZE
from pal_plugin.integration import Route
from pal_plugin.planning.gpus import CONTEXT_GIB, FRAGMENTATION, GIB, needed_gib
from pal_plugin.planning.memory import DDP, FSDP, Memory, memory_of
from pal_plugin.planning.skeleton import Skeleton, build_skeleton
from pal_plugin.planning.step import StepCount, count_step
from pal_plugin.planning.workload import Workload
from pal_plugin.utils.errors import ConfigError

#: Dtype of autocast by `run.amp`.
AUTOCAST = {"none": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Way:
    """One way to run a step.

    Attributes:
        strategy: "ddp" or "fsdp".
        checkpointing: whether activation checkpointing is on.
        memory: of one process.
        alone: whether there is a single process.
    """

    strategy: str
    checkpointing: bool
    memory: Memory
    alone: bool

    @property
    def name(self) -> str:
        """For tables, such as "ddp + checkpointing"."""
        strategy = "one process" if self.alone else self.strategy
        return strategy + (" + checkpointing" if self.checkpointing else "")

    @property
    def options(self) -> str:
        """The `--options` that select it."""
        checkpointing = f"run.activation_checkpointing={str(self.checkpointing).lower()}"
        return checkpointing if self.alone else f"run.parallel={self.strategy} {checkpointing}"


@dataclass(frozen=True)
class Plan:
    """The result of `pal plan`.

    Args:
        parameters: `{component: (trainable, frozen)}`.
        sources: of the sizes, by component.
        routes: `{group: routes}`.
        work: of one process and one batch.
        world_size: number of GPUs.
        counts: of a batch, without and with activation checkpointing.
        ways: all ways to run a step.
        chosen: the way that the run file selects.
    """

    parameters: dict[str, tuple[int, int]]
    sources: dict[str, str]
    routes: dict[str, tuple[Route, ...]]
    work: Workload
    world_size: int
    counts: dict[bool, StepCount]
    ways: tuple[Way, ...]
    chosen: Way

    def tokens(self) -> dict[str, int]:
        """Tokens per sample (a question about a clip), by route."""
        found = {"plits": 0, "lal": 0, "flamingo": 0}
        for group, count in self.counts[False].tokens.items():
            for way in self.routes[group]:
                found[way.integration] += -(-count // way.pool)
        return {**{k: v for k, v in found.items() if v}, "text": self.work.text}

    def flops_per_sample(self, checkpointing: bool = False) -> float:
        """FLOPs of forward and backward per question, with its share of the clip's encoding."""
        return self.counts[checkpointing].flops / self.work.rows

    @property
    def samples_per_step(self) -> int:
        """Questions per optimizer step, over all processes."""
        return self.work.rows * self.work.accumulate * self.world_size

    def largest_batch(self, way: Way, gpu: float) -> int:
        """Largest batch in clips on a GPU with `gpu` GiB, extrapolated linearly from this batch."""
        memory = way.memory
        room = (gpu - CONTEXT_GIB) * GIB / (1 + FRAGMENTATION) - memory.total + memory.per_batch
        per_clip = memory.per_batch / self.work.clips
        return max(0, int(room // per_clip)) if per_clip else 0

    def to_dict(self, gpu: float) -> dict[str, Any]:
        """The plan as JSON values; memory in bytes unless the name says otherwise.

        Args:
            gpu: memory of the GPU in GiB.
        """
        return {
            "world_size": self.world_size,
            "workload": vars(self.work),
            "samples_per_step": self.samples_per_step,
            "sizes_from": self.sources,
            "parameters": {
                name: {"trainable": t, "frozen": f} for name, (t, f) in self.parameters.items()
            },
            "routing": {group: [vars(way) for way in ways] for group, ways in self.routes.items()},
            "tokens_per_sample": self.tokens(),
            "flops_per_batch": {
                ("with" if with_it else "without") + "_checkpointing": {
                    "forward": count.forward,
                    "backward": count.backward,
                    "total": count.flops,
                }
                for with_it, count in self.counts.items()
            },
            "gpu_gib": gpu,
            "chosen": self.chosen.name,
            "memory": {
                way.name: {
                    **{part: round(size) for part, size in vars(way.memory).items()},
                    "total": round(way.memory.total),
                    "needed_gib": round(needed_gib(way.memory.total), 2),
                    "fits": needed_gib(way.memory.total) <= gpu,
                    "largest_batch": self.largest_batch(way, gpu),
                }
                for way in self.ways
            },
        }


def make_plan(
    skeleton: Skeleton,
    work: Workload,
    *,
    world_size: int = 1,
    amp: str = "none",
    parallel: str = DDP,
    checkpointing: bool = False,
) -> Plan:
    """Plan a step, in all ways to run it.

    Args:
        skeleton: the model.
        work: of one process.
        world_size: number of GPUs.
        amp, parallel, checkpointing: as `run.amp`, `run.parallel`, `run.activation_checkpointing`.

    Raises:
        ConfigError: an unknown `amp` or `parallel`, a world size below 1, or nothing is trainable.
    """
    for key, value, known in (("amp", amp, AUTOCAST), ("parallel", parallel, (DDP, FSDP))):
        if value not in known:
            raise ConfigError(f"run.{key} is {value!r}; expected {', '.join(known)}")
    if not WORLD_SIZE.holds(world_size):
        raise ConfigError(f"--world-size is {world_size}; expected {WORLD_SIZE}")
    model = skeleton.model
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(
            "no parameter is trainable: set model.stage (connectors: full, llm: lora, ...)"
        )
    counts = {
        c: count_step(model, work, autocast=AUTOCAST[amp], checkpointing=c) for c in (False, True)
    }
    alone = world_size == 1
    ways = tuple(
        Way(s, c, memory_of(model, counts[c], s, world_size, work.accumulate), alone)
        for s in ((DDP,) if alone else (DDP, FSDP))
        for c in (False, True)
    )
    asked = (DDP if alone else parallel, checkpointing)
    chosen = next(way for way in ways if (way.strategy, way.checkpointing) == asked)
    sources, parameters = skeleton.sources, skeleton.parameters()
    return Plan(parameters, sources, model.routing, work, world_size, counts, ways, chosen)


def plan_of(
    cfg: dict[str, Any], world_size: int, clip_s: float = 10.0, text: int = 128, answer: int = 64
) -> Plan:
    """The plan of a resolved configuration.

    Args:
        cfg: sections as plain containers.
        world_size: number of processes, one per GPU.
        clip_s: seconds of a clip.
        text, answer: tokens, see `Workload`.
    """
    run = cfg["run"]
    asked = [d.get("items_per_clip") or 1 for d in (cfg.get("datasets") or {}).values()]
    work = Workload(
        clips=int(run["batch_size_train"]),
        rows_per_clip=max(asked, default=1),
        clip_s=clip_s,
        text=text,
        answer=answer,
        accumulate=int(run["accum_grad_iters"]),
    )
    return make_plan(
        build_skeleton(cfg["model"]),
        work,
        world_size=world_size,
        amp=str(run["amp"] or "none"),
        parallel=str(run["parallel"]),
        checkpointing=bool(run["activation_checkpointing"]),
    )
