"""What one process holds in its fullest moment, by part.

With the counts of `step.py` for what comes and goes in a step, and arithmetic for what stays:
AdamW keeps two numbers per trained one in its type. DDP keeps all of it in each process and copies
gradients into buckets of the same size. FSDP2 keeps 1 / world size of weights, gradients and
optimiser states, and gathers what it computes with: the root (all but the decoder layers) for the
whole step, and the layer at hand with the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.planning.skeleton import bytes_of
from pal_plugin.planning.step import StepCount

DDP, FSDP = "ddp", "fsdp2"
_GATHERED_LAYERS = 2


@dataclass(frozen=True)
class Memory:
    """Bytes of one process when it holds most.

    Args:
        weights: parameters and buffers, or this process's part of them.
        gathered: FSDP2's whole copies of what it computes with.
        optimizer: AdamW's states.
        gradients: those that are finished in that moment.
        buckets: DDP's copies of gradients for communication.
        activations: kept for the backward pass, up to the decoder's output.
        logits: kept behind it.
        working: what an operation makes and frees, and the batch itself.
        in_step: whether the fullest moment is in the optimiser's step, not in the backward pass.
    """

    weights: float
    gathered: float
    optimizer: float
    gradients: float
    buckets: float
    activations: float
    logits: float
    working: float
    in_step: bool = False

    @property
    def parts(self) -> dict[str, float]:
        return {k: v for k, v in vars(self).items() if k != "in_step"}

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def per_batch(self) -> float:
        """The part that grows with the batch."""
        return self.activations + self.logits + self.working


def gradient_share(strategy: str, world_size: int) -> float:
    """The share of each finished gradient that a process keeps."""
    return 1 / world_size if strategy == FSDP else 1.0


def memory_of(
    model: AudioLLM, count: StepCount, strategy: str, world_size: int, accumulate: int = 1
) -> Memory:
    """Memory of one of `world_size` processes.

    Args:
        count: of this model; its peaks hold `gradient_share` and, where gradients accumulate, 0.
        strategy: "ddp" or "fsdp2".
    """
    share = gradient_share(strategy, world_size)
    sharded = strategy == FSDP and world_size > 1
    trained = bytes_of(model, trainable=True)
    buffers = bytes_of(model) - trained - bytes_of(model, trainable=False)
    stays = {
        "weights": (bytes_of(model) - buffers) * share + buffers,
        "gathered": _gathered(model) if sharded else 0.0,
        "optimizer": 2 * trained * share,
        "buckets": trained if strategy == DDP and world_size > 1 else 0.0,
    }
    if accumulate > 1:  # gradients of earlier batches are there all along
        most, finished = count.peaks[0.0][0] + trained * share, trained * share
    else:
        most, whole = count.peaks[share]
        finished = whole * share
    # AdamW's fused list operations make one more number for each trained one.
    if 2 * trained * share > most:
        one = trained * share
        return Memory(**stays, gradients=one, activations=0, logits=0, working=one, in_step=True)
    rest = most - finished
    logits = min(count.logits, rest)
    activations = min(count.activations - count.logits, rest - logits)
    return Memory(
        **stays,
        gradients=finished,
        activations=activations,
        logits=logits,
        working=rest - logits - activations,
    )


def _gathered(model: AudioLLM) -> int:
    layers: list[nn.Module] = list(model.llm.get_decoder().layers)
    sizes = sorted((bytes_of(layer) for layer in layers), reverse=True)
    return bytes_of(model) - sum(sizes) + sum(sizes[:_GATHERED_LAYERS])
