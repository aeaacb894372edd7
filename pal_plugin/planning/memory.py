"""Peak memory of one process, by part.

Activations are counted by `step.py`; persistent memory is computed: AdamW keeps two states per
trainable parameter, in its dtype. DDP replicates everything, and keeps gradients in its buckets all
the time. FSDP2 keeps 1 / world size of the LLM's layers (weights, gradients, optimizer states) and
all of the rest, as `training/parallel.py` shards; the current and the next layer are gathered.
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
    """Bytes of one process at its peak.

    Args:
        weights: parameters and buffers, or this rank's shards of them.
        gathered: FSDP2's gathered layers, and the gradients of one.
        optimizer: AdamW's states.
        gradients: accumulated at the peak.
        activations: saved for backward, up to the decoder's output.
        logits: saved after the decoder.
        working: temporaries of an operation, and the batch itself.
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
        """Sum of all parts, in bytes."""
        return sum(vars(self).values())

    @property
    def per_batch(self) -> float:
        """Bytes that grow with the batch size."""
        return self.activations + self.logits + self.working


def memory_of(
    model: AudioLLM, count: StepCount, strategy: str, world_size: int, accumulate: int = 1
) -> Memory:
    """Memory of one of `world_size` processes.

    Args:
        model: on any device.
        count: of a step of this model.
        strategy: "ddp" or "fsdp".
        world_size: number of processes.
        accumulate: micro-batches per optimizer step.
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
    if world_size > 1 or accumulate > 1:  # all or nearly all gradients exist from the start
        most, finished = count.peak_without + trained, trained
    else:
        most, finished = count.peak
    # AdamW's step needs a temporary of the size of the trainable parameters.
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
    """Bytes of all tensors, or of the trainable ones."""
    return sum(t.numel() * t.element_size() for t in tensors if t.requires_grad or not trained)
