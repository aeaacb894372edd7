"""One of two processes that train together, in a module that the process can import.

The second process has text only: its audio is all padding, and its gradients still take part.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from families import NO_SDPA, VOCAB, WIDTH, build
from reference import lal_logits
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from pal_plugin.integration import AudioContext, attach

PROCESSES, M, N, RAW = 2, 5, 6, 8
WAYS = ("ddp", "ddp, checkpointing", "fsdp")


class Listener(nn.Module):
    """A connector and an LLM."""

    def __init__(self, family: str, checkpointing: bool = False) -> None:
        super().__init__()
        self.llm = attach(build(family, "eager" if family in NO_SDPA else "sdpa"))
        generator = torch.Generator().manual_seed(5)
        self.connector = nn.Linear(RAW, WIDTH, bias=False)
        self.connector.weight.data = torch.randn(WIDTH, RAW, generator=generator)
        if checkpointing:
            self.train()
            self.llm.gradient_checkpointing_enable({"use_reentrant": False})

    def forward(self, ids: Tensor, sounds: Tensor, mask: Tensor) -> Tensor:
        audio = AudioContext(self.connector(sounds), mask)
        return self.llm(input_ids=ids, audio=audio, use_cache=False).logits

    def reference(self, ids: Tensor, sounds: Tensor, mask: Tensor) -> Tensor:
        clips = zip(ids, self.connector(sounds), mask, strict=True)
        return torch.stack([lal_logits(self.llm, row, clip[kept]) for row, clip, kept in clips])


def batch_of(rank: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    ids = torch.randint(1, VOCAB, (2, N), generator=generator)
    mask = torch.tensor([[True] * M, [True] * (M - 2) + [False] * 2])
    return ids, torch.randn(2, M, RAW, generator=generator), mask & (rank == 0)


def loss(logits: Tensor, ids: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def run(rank: int, families: list[str], folder: str) -> None:
    """Write the gradients of each family and way to train as `<folder>/<family> <way>.pt`."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES
    )
    for family in families:
        for way in WAYS:
            gradients = trained(family, way, batch_of(rank))
            if rank == 0:
                torch.save(gradients, Path(folder) / f"{family} {way}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    # About one process in ten died of SIGABRT in the interpreter's shutdown (torch 2.11, gloo),
    # with everything written: a thread of torch's was still running, and no Python frame.
    os._exit(0)


def trained(family: str, way: str, batch: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    """Gradients after one backward pass, averaged over the processes."""
    listener = Listener(family, checkpointing=way == "ddp, checkpointing")
    model = listener
    if way == "fsdp":
        for layer in listener.llm.model.layers:
            fully_shard(layer)
        fully_shard(listener)
    else:
        model = DistributedDataParallel(listener)
    loss(model(*batch), batch[0]).backward()
    gradients = {name: p.grad for name, p in listener.named_parameters()}
    if way == "fsdp":  # all processes take part in putting the shards together
        gradients = {name: shards.full_tensor() for name, shards in gradients.items()}
    return gradients
