"""Times, measured in turns, and GPU memory.

Variants run one after the other within a round, and ratios are taken within a round: a temporary
slow-down of the machine affects all of them. Each round starts with another variant.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from benchmarks.kernels import Kernels
from benchmarks.shapes import Shape
from benchmarks.variants import Batch, Variant, build_variants, trainable

OK, OUT_OF_MEMORY = "ok", "out of memory"
STATUSES = (OK, OUT_OF_MEMORY)  # any other is an error's message


@dataclass
class Measured:
    """One variant in one cell.

    Args:
        seconds: one entry per round and phase.
        held_bytes: GPU memory held after the forward pass, for the backward pass.
        peak_bytes: peak GPU memory. Both without weights, optimizer state and batch, but with
            gradients of the weights. None on a CPU.
        kernels: fused attention kernels that ran.
        status: "ok", or the error.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    held_bytes: int | None = None
    peak_bytes: int | None = None
    kernels: str | None = None
    status: str = OK


def time_training(
    names: list[str],
    llm: nn.Module,
    shape: Shape,
    rows: int,
    n: int,
    m: int,
    repeats: int,
    tick: Callable[[str], None],
) -> dict[str, Measured]:
    """Steps of forward, backward and AdamW on the text's loss; phase "train".

    Args:
        tick: called with a variant's name after its warm-up and each of its rounds.
    """
    variants = build_variants(names, llm, shape, m)
    weight = llm.get_input_embeddings().weight
    batch = Batch.random(shape, rows, n, m, weight, grad=True)
    # A learning rate of 0 costs the same and keeps the weights for the next variant.
    optimizer = torch.optim.AdamW(trainable(variants), lr=0.0, fused=True)

    def step(variant: Variant, forward_done: Callable[[], None] = lambda: None) -> None:
        try:
            loss = variant.loss(batch)
            forward_done()
            loss.backward()
            optimizer.step()
        finally:  # also where memory was not enough
            optimizer.zero_grad(set_to_none=True)
            batch.features.grad = None

    found = {}
    for name, variant in variants.items():
        found[name] = warm_up(lambda v=variant, **kw: step(v, **kw), weight.device)
        tick(name)

    def seconds(name: str) -> dict[str, float]:
        return {"train": run_seconds(lambda: step(variants[name]), weight.device)}

    in_turns(found, seconds, repeats, tick)
    return found


def time_inference(
    names: list[str],
    llm: nn.Module,
    shape: Shape,
    rows: int,
    n: int,
    m: int,
    repeats: int,
    new_tokens: int,
    tick: Callable[[str], None],
) -> dict[str, Measured]:
    """`generate`: phase "prefill" is the time to the first token, "decode" that of each further."""
    variants = build_variants(names, llm, shape, m)
    weight = llm.get_input_embeddings().weight
    batch = Batch.random(shape, rows, n, m, weight)
    found = {}
    for name, variant in variants.items():
        found[name] = warm_up(
            lambda v=variant, **_: v.generate(batch, 1 + new_tokens),
            weight.device,
            first=lambda v=variant: v.generate(batch, 2),
        )
        tick(name)

    def seconds(name: str) -> dict[str, float]:
        variant = variants[name]
        first = run_seconds(lambda: variant.generate(batch, 1), weight.device)
        all_of_them = run_seconds(lambda: variant.generate(batch, 1 + new_tokens), weight.device)
        return {"prefill": first, "decode": (all_of_them - first) / new_tokens}

    in_turns(found, seconds, repeats, tick)
    return found


def in_turns(
    found: dict[str, Measured],
    seconds: Callable[[str], dict[str, float]],
    repeats: int,
    tick: Callable[[str], None],
) -> None:
    """Time every variant once per round; one that fails is skipped from then on.

    Args:
        found: warmed-up variants; their seconds are added.
        seconds: runs a variant by name and returns seconds by phase.
    """
    names = list(found)
    for repeat in range(repeats):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            if found[name].status != OK:
                continue
            try:
                values = seconds(name)
            except RuntimeError as error:  # optimizer states grew after the warm-up
                found[name] = Measured(status=_what_happened(error))
                continue
            for phase, value in values.items():
                found[name].seconds.setdefault(phase, []).append(value)
            tick(name)


def warm_up(
    step: Callable[..., object], device: torch.device, first: Callable[[], object] | None = None
) -> Measured:
    """Two steps: records the kernels of the first and, on a GPU, the memory of the second.

    Args:
        step: takes a function, `forward_done`, that training calls between its two passes.
        first: replaces the first step by a shorter one, since all its calls are listed.
    """
    measured = Measured()

    def forward_done() -> None:
        measured.held_bytes = torch.cuda.memory_allocated() - before

    try:
        with Kernels() as kernels:
            (first or step)()
        measured.kernels = kernels.names
        if device.type != "cuda":
            step()
            return measured
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(forward_done=forward_done)
        measured.peak_bytes = torch.cuda.max_memory_allocated() - before
    except RuntimeError as error:  # the others can still be measured
        measured = Measured(status=_what_happened(error))
    torch.cuda.empty_cache()  # outside of the handler, whose traceback holds the activations
    return measured


def run_seconds(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call, with a GPU synchronization."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def _what_happened(error: RuntimeError) -> str:
    """A status: `OUT_OF_MEMORY`, or the first line of the error."""
    if isinstance(error, torch.OutOfMemoryError):
        return OUT_OF_MEMORY
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
