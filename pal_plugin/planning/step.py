"""Run one training step and count FLOPs by component, and memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.planning.counting import LiveBytes, flop_counter
from pal_plugin.planning.meta import on_meta
from pal_plugin.planning.workload import Batch, Workload, loss_of, make_batch


@dataclass(frozen=True)
class StepCount:
    """Counts of one batch, forward and backward.

    Args:
        forward: FLOPs by component; "llm" is all but the encoders and connectors.
        backward: FLOPs, including the recomputation of activation checkpointing.
        inputs: bytes of the batch.
        activations: live bytes after the forward pass, without the inputs.
        logits: the part of them after the decoder; 0 if it is not run.
        peak: peak of live bytes with the inputs, and accumulated gradients at that moment.
        peak_without: peak of live bytes without accumulated gradients.
        tokens: audio tokens per clip, by group.
    """

    forward: dict[str, int]
    backward: int
    inputs: int
    activations: int
    logits: int
    peak: tuple[int, int]
    peak_without: int
    tokens: dict[str, int] = field(default_factory=dict)

    @property
    def flops(self) -> int:
        """FLOPs of forward and backward."""
        return sum(self.forward.values()) + self.backward


def count_step(
    model: AudioLLM,
    work: Workload,
    *,
    autocast: torch.dtype | None = None,
    checkpointing: bool = False,
) -> StepCount:
    """Count a batch of `work`; also works on real tensors, without autocast.

    Args:
        model: on the meta device, or a real one.
        work: the batch.
        autocast: dtype of the forward pass; None: no autocast.
        checkpointing: whether to use activation checkpointing for the LLM's layers.
    """
    batch = make_batch(model, work)
    with _checkpointed(model, checkpointing):
        tokens, forward, backward = _flops(model, batch, work, autocast)
        memory = _memory(model, batch, work, autocast)
    return StepCount(forward, backward, **memory, tokens=tokens)


def count_flops(
    model: AudioLLM,
    work: Workload,
    *,
    autocast: torch.dtype | None = None,
    checkpointing: bool = False,
    backward: bool = True,
) -> tuple[dict[str, int], int]:
    """FLOPs alone, in about half the time: `forward` and `backward` as in `StepCount`.

    Args:
        model, work, autocast, checkpointing: as in `count_step`.
        backward: False: only the forward pass; the second number is 0.
    """
    batch = make_batch(model, work)
    with _checkpointed(model, checkpointing):
        return _flops(model, batch, work, autocast, backward)[1:]


@contextlib.contextmanager
def _checkpointed(model: AudioLLM, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # older versions lack the new names
        model.llm.gradient_checkpointing_enable()
        try:
            yield
        finally:
            model.llm.gradient_checkpointing_disable()


def _flops(
    model: AudioLLM, batch: Batch, work: Workload, autocast, learns: bool = True
) -> tuple[dict, dict, int]:
    tokens, forward, hooks = {}, {}, []
    parts = [*(("encoders", *e) for e in model.encoders.items())]
    parts += [*(("connectors", *c) for c in model.connectors.items())]
    with on_meta(autocast), flop_counter() as counter:

        def watch(kind: str, name: str, module: nn.Module) -> None:
            def before(*_) -> None:
                forward[f"{kind}.{name}"] = -counter.get_total_flops()

            def after(_module, _args, out) -> None:
                forward[f"{kind}.{name}"] += counter.get_total_flops()
                if kind == "connectors":
                    windows = len(out.features) // work.clips
                    tokens[name] = windows * out.features.shape[1]

            hooks.append(module.register_forward_pre_hook(before))
            hooks.append(module.register_forward_hook(after))

        for part in parts:
            watch(*part)
        try:
            loss = loss_of(model, batch, work.answer)
        finally:
            for hook in hooks:
                hook.remove()
        total = counter.get_total_flops()
        forward["llm"] = total - sum(forward.values())
        if learns:
            torch.autograd.backward(loss)
        backward = counter.get_total_flops() - total
    model.zero_grad(set_to_none=True)
    return tokens, forward, backward


def _memory(model: AudioLLM, batch: Batch, work: Workload, autocast) -> dict:
    inputs = sum(t.untyped_storage().nbytes() for t in batch.tensors() if t.device == model.device)
    there = [*model.parameters(), *model.buffers(), *batch.tensors()]
    live = LiveBytes(there)
    before: list[int] = []
    hook = model.llm.get_output_embeddings().register_forward_pre_hook(
        lambda *_: before.append(live.made)
    )
    hooks = [hook, *live.watch_gradients(model)]
    try:
        with on_meta(autocast), live:
            loss = loss_of(model, batch, work.answer)
            activations, logits = live.total, live.since(before[0]) if before else 0
            torch.autograd.backward(loss)
    finally:
        for hook in hooks:
            hook.remove()
    model.zero_grad(set_to_none=True)
    return {
        "inputs": inputs,
        "activations": activations,
        "logits": logits,
        "peak": (live.peak[0] + inputs, live.peak[1]),
        "peak_without": live.peak_without + inputs,
    }
