"""One model on several processes: DDP, or FSDP2 for an LLM that does not fit on one GPU.

DDP replicates the model and averages gradients. FSDP2 shards the LLM's layers, frozen weights
included, since those are what does not fit; everything else (connectors, encoders, embeddings) is
replicated, and its gradients are averaged here.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from pal_plugin.training.distributed import World
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.sharding import whole

STRATEGIES = ("ddp", "fsdp")


def parallelise(
    model: nn.Module,
    world: World,
    strategy: str,
    *,
    find_unused: bool = False,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> nn.Module:
    """Wrap `model` for training on several processes; returns it unchanged for one process.

    Args:
        model: on its device for "ddp"; for "fsdp" its layers are moved there shard by shard.
        world: rank and world size.
        strategy: "ddp" or "fsdp".
        find_unused: whether trainable parameters may be unused in a step (DDP).
        dtype: compute dtype of sharded layers (FSDP2); None keeps theirs. Gradients are reduced
            in float32.
        device: of the shards.

    Raises:
        ConfigError: an unknown strategy, or a model without `decoder.layers` for FSDP2.
    """
    if strategy not in STRATEGIES:
        raise ConfigError(f"run.parallel is {strategy!r}; expected one of {', '.join(STRATEGIES)}")
    if world.size == 1:
        return model
    if strategy == "fsdp":
        _shard(model, dtype, device)
        return model
    return DistributedDataParallel(  # without device_ids: it would move the counts of a batch too
        model,
        find_unused_parameters=find_unused,
        gradient_as_bucket_view=True,
        broadcast_buffers=False,  # trainable modules have none, or those of rank 0
    )


def is_sharded(model: nn.Module) -> bool:
    """Whether any parameter is sharded: then every rank must take part in every forward pass."""
    return any(isinstance(p, DTensor) for p in model.parameters())


@contextlib.contextmanager
def exchange_at(last: bool, model: nn.Module) -> Iterator[None]:
    """Reduce gradients at the last micro-batch of a step only (DDP's `no_sync` before)."""
    if isinstance(model, DistributedDataParallel) and not last:
        with model.no_sync():
            yield
    else:
        yield


def average_whole_gradients(model: nn.Module, world: World) -> None:
    """All-reduce the gradients that FSDP2 does not handle: those of replicated parameters."""
    if world.size == 1 or isinstance(model, DistributedDataParallel):
        return
    for parameter in model.parameters():
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            if parameter.grad is None:  # every rank must take part
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world.size


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float | None) -> float:
    """Clip the global gradient norm to `largest`; None: only measure it.

    Returns:
        The L2 norm before clipping, equal on every rank.
    """
    with_gradient = [p for p in parameters if p.grad is not None]
    kinds = [
        [p for p in with_gradient if isinstance(p, DTensor)],
        [p for p in with_gradient if not isinstance(p, DTensor)],
    ]
    norms = [_norm(kind) for kind in kinds if kind]
    total = math.sqrt(sum(norm**2 for norm in norms))
    if largest is not None and math.isfinite(total):
        for kind in kinds:
            if kind:
                norm = torch.tensor(total, device=kind[0].device)
                nn.utils.clip_grads_with_norm_(kind, largest, norm)
    return total


def _norm(parameters: list[nn.Parameter]) -> float:
    return float(whole(nn.utils.get_total_norm([p.grad for p in parameters])))


def _shard(model: Any, dtype: torch.dtype | None, device: torch.device | str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise ConfigError(f"run.parallel=fsdp needs torch 2.7 or newer, got {torch.__version__}")
    decoder = getattr(model, "decoder", None)
    if decoder is None or not hasattr(decoder, "layers"):
        raise ConfigError(
            f"run.parallel=fsdp shards `model.decoder.layers`, but {type(model).__name__} has "
            "none; use run.parallel=ddp"
        )
    for tensor in (*model.parameters(), *model.buffers()):  # as DDP: start from rank 0's values
        distributed.broadcast(tensor.data, 0)
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32)
    mesh = init_device_mesh(torch.device(device).type, (distributed.get_world_size(),))
    for layer in decoder.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    # The root schedules the layers' all-gathers and shards nothing itself: embeddings are used
    # outside its forward pass.
    fully_shard(
        decoder,
        mesh=mesh,
        ignored_params=set(decoder.parameters()) - set(decoder.layers.parameters()),
    )
    model.to(device)
