"""Profile of one training step, by operation."""

from __future__ import annotations

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from benchmarks.shapes import Shape
from benchmarks.variants import Batch, build_variants


def top_operations(
    name: str, llm: nn.Module, shape: Shape, rows: int, n: int, m: int, top: int = 20
) -> str:
    """Table of operations by their share of the time of a step's forward and backward pass.

    Self time, on the GPU if there is one. Calls are per step.
    """
    variant = build_variants([name], llm, shape, m)[name]
    weight = llm.get_input_embeddings().weight
    batch = Batch.random(shape, rows, n, m, weight, grad=True)
    gpu = weight.device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * gpu
    steps = 3
    variant.loss(batch).backward()
    with profile(activities=activities, acc_events=True) as recorded:
        for _ in range(steps):
            variant.loss(batch).backward()
        if gpu:
            torch.cuda.synchronize()
    events = recorded.key_averages()

    def own(event) -> float:
        return event.self_device_time_total if gpu else event.self_cpu_time_total

    total = sum(map(own, events)) or 1.0
    lines = [f"{'share':>6}  {'calls':>6}  operation"]
    lines += [
        f"{own(event) / total:6.1%}  {event.count / steps:6.0f}  {event.key[:80]}"
        for event in sorted(events, key=own, reverse=True)[:top]
    ]
    return "\n".join(lines)
