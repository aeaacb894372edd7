"""Shared by the pocket recipes: features in memory, and a small training loop.

The recipes in projects/pal/pocket produce the weights that the package ships. They need neither
LAVIS nor a runner: nothing here is resumed, distributed or evaluated between epochs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm


@dataclass
class Corpus:
    """Precomputed features in memory, so that training does not wait for them.

    Args:
        labels: label of each item.
        audio: by encoder, features `[items, ...]` and frames `[items]`.
    """

    labels: list
    audio: dict[str, tuple[Tensor, Tensor]]

    @classmethod
    def of(cls, data: Dataset, workers: int) -> Corpus:
        """Collects a dataset of `(label, {encoder: (features, frames)})`."""
        loader = DataLoader(data, batch_size=32, num_workers=workers, collate_fn=list)
        labels, parts = [], {}
        for items in tqdm(loader, desc="clips", unit="batch", mininterval=2.0):
            for label, audio in copy.deepcopy(items):  # release the worker's shared memory
                labels.append(label)
                for name, tensors in audio.items():
                    parts.setdefault(name, []).append(tensors)
        joined = {n: tuple(map(torch.cat, zip(*p, strict=True))) for n, p in parts.items()}
        return cls(labels, joined)


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Learning rate factor: linear warmup to 1 over `warmup` steps, then cosine decay to 0.05."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.05 + 0.475 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def fit(
    modules: nn.Module,
    batches: Iterator,
    loss_of: Callable[..., Tensor],
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.01,
    warmup: int = 50,
    bf16: bool = False,
    label: str = "training",
) -> float:
    """Trains `modules` for `steps` batches with AdamW.

    Args:
        modules: module with all trainable parameters.
        batches: endless iterator of batches.
        loss_of: batch -> scalar loss.
        lr: peak learning rate.
        warmup: warmup steps.
        bf16: autocast to bfloat16; faster where the CPU supports it.
        label: name in the progress bar.

    Returns:
        Mean loss over the last tenth of the steps.

    Raises:
        FloatingPointError: if the loss is not finite.
    """
    parameters = [p for p in modules.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.dim() > 1]
    others = [p for p in parameters if p.dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: warmup_cosine(step, steps, warmup)
    )
    modules.train()
    losses: list[float] = []
    bar = tqdm(range(steps), desc=label, mininterval=2.0)
    for step in bar:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = loss_of(next(batches))
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{label}: the loss is {loss.item()} at step {step}")
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix(loss=f"{sum(losses[-50:]) / len(losses[-50:]):.3f}", refresh=False)
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)
