"""What one process holds in its fullest moment, by part.

With the counts of `step.py` for what comes and goes in a step, and arithmetic for what stays:
AdamW keeps two numbers per trained one, in its type. DDP keeps all of it in each process, and the
gradients all the time: they lie in its buckets. FSDP2 keeps 1 / world size of the LLM's layers
(weights, gradients, optimiser states) and all of the rest, as `training/parallel.py` shards; the
layer at hand and the next one are gathered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.planning.step import StepCount

DDP, FSDP = "ddp", "fsdp"  # as in run.parallel
_GATHERED_LAYERS = 2


@dataclass(frozen=True)
class Memory:
    """Bytes of one process when it holds most.

    Args:
        weights: parameters and buffers, or this process's part of them.
        gathered: FSDP2's whole layers, and the gradients of one.
        optimizer: AdamW's states.
        gradients: those that are finished in that moment.
        activations: kept for the backward pass, up to the decoder's output.
        logits: kept behind it.
        working: what an operation makes and frees, and the batch itself.
    """

    weights: float
    gathered: float
    optimizer: float
    gradients: float
    activations: float
    logits: float
    working: float

    @property
    def total(self) -> float:
        return sum(vars(self).values())

    @property
    def per_batch(self) -> float:
        """The part that grows with the batch."""
        return self.activations + self.logits + self.working


def memory_of(
    model: AudioLLM, count: StepCount, strategy: str, world_size: int, accumulate: int = 1
) -> Memory:
    """Memory of one of `world_size` processes.

    Args:
        count: of this model.
        strategy: "ddp" or "fsdp".
        accumulate: batches per optimizer step.
    """
    layers = list(model.decoder.layers)
    in_layers = {p for layer in layers for p in layer.parameters()}
    outside = [p for p in model.parameters() if p not in in_layers]
    sharded = strategy == FSDP and world_size > 1
    share = 1 / world_size if sharded else 1.0
    trained = _bytes(outside, trained=True) + share * _bytes(in_layers, trained=True)
    largest = sorted((_bytes(layer.parameters()) for layer in layers), reverse=True)
    stays = {
        "weights": _bytes(outside) + _bytes(model.buffers()) + share * _bytes(in_layers),
        "gathered": 0.0,
        "optimizer": 2 * trained,
    }
    if sharded:
        gradients = max(_bytes(layer.parameters(), trained=True) for layer in layers)
        stays["gathered"] = sum(largest[:_GATHERED_LAYERS]) + gradients
    if world_size > 1 or accumulate > 1:  # gradients are there from the start, or nearly all
        most, finished = count.peak_without + trained, trained
    else:
        most, finished = count.peak
    # AdamW makes one more number for each trained one, in its step.
    if 2 * trained > most:
        return Memory(**stays, gradients=trained, activations=0, logits=0, working=trained)
    rest = most - finished
    logits = min(count.logits, rest)
    activations = min(count.activations - count.logits, rest - logits)
    working = rest - logits - activations
    return Memory(
        **stays, gradients=finished, activations=activations, logits=logits, working=working
    )


def _bytes(tensors: Iterable, trained: bool = False) -> int:
    """Of all, or of those that are trained."""
    return sum(t.numel() * t.element_size() for t in tensors if t.requires_grad or not trained)
