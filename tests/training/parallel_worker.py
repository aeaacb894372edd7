"""One of several processes that train a small audio-LLM, in a module that it can import."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import torch

#: How a model is shared, and what of its LLM is trained.
WAYS = {
    "ddp, lora": ("ddp", "lora"),
    "fsdp, lora": ("fsdp", "lora"),
    "fsdp, full": ("fsdp", "full"),
    "fsdp, full, bf16": ("fsdp", "full"),
}
STEPS = 3


def run(rank: int, size: int, config: dict, batches: list[dict], folder: str) -> None:
    """Write losses, weights, optimizer states and answers of each way as `<folder>/<way>.pt`."""
    from pal_plugin.training import distributed

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": os.environ["PAL_TEST_PORT"]}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    torch.set_num_threads(1)
    world = distributed.join("cpu", 600)
    for way, (strategy, llm) in WAYS.items():
        amp = "bf16" if way.endswith("bf16") else "none"
        result = trained(config, llm, batches, world, strategy, amp=amp)
        if world.first:
            torch.save(result, Path(folder) / f"{way}.pt")
    distributed.leave(0)


def trained(
    config: dict, llm: str, batches: list[dict], world, strategy="ddp", accumulate=1, amp="none"
):
    """Losses, gradient norms, whole weights and optimizer states, and answers after `STEPS`."""
    from pal_plugin.models import checkpoint
    from pal_plugin.models.audio_llm import AudioLLM
    from pal_plugin.models.build import build_components
    from pal_plugin.training import parallel
    from pal_plugin.training.checkpointing import optimizer_tensors
    from pal_plugin.training.streams import MicroBatch
    from pal_plugin.training.trainer import Trainer
    from pal_plugin.utils.precision import Precision

    torch.manual_seed(0 if strategy == "ddp" else world.rank)  # fsdp: the first one's count
    model = AudioLLM(**build_components(copy.deepcopy({**config, "stage": {"llm": llm}})))
    if world.rank == 0:
        torch.manual_seed(0)
    precision = Precision(amp, torch.device("cpu"))
    shared = parallel.parallelise(model, world, strategy, dtype=precision.dtype)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    lines = []

    def micros():
        number = world.rank
        while True:
            position = {"stream": 0, "place": number + 1}
            yield MicroBatch(number, position, copy.deepcopy(batches[number % len(batches)]))
            number += world.size

    trainer = Trainer(
        task=Task(),
        model=shared,
        plain=model,
        batches=micros(),
        optimizer=optimizer,
        schedule=Schedule(),
        precision=precision,
        device=torch.device("cpu"),
        world=world,
        accumulate=accumulate,
        grad_clip=0.5,
        log_freq=1,
        report=lines.append,
    )
    trainer.epoch(STEPS)
    model.eval()
    with torch.no_grad(), precision.autocast():
        answers = model.generate(batches[0], max_new_tokens=5)
    return {
        "curve": [(line["batch_loss"], line["grad_norm"], line["order"]) for line in lines],
        "weights": checkpoint.trained_state(model),
        "optimizer": optimizer_tensors(optimizer, model),
        "answers": answers,
        "sharded": parallel.is_sharded(model),
    }


class Task:
    def train_step(self, model, samples):
        return model(samples)["loss"]


class Schedule:
    def step(self, cur_epoch, cur_step):
        pass
