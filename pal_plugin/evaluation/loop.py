"""The evaluation loop, for any task with `valid_step`, and its DataLoader."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, Subset

from pal_plugin.batch import Batch, clips_in, to_device
from pal_plugin.datasets import workers
from pal_plugin.evaluation.prediction_cache import PredictionCache
from pal_plugin.utils.precision import Precision
from pal_plugin.utils.runtime import progress_bar
from pal_plugin.utils.spelling import first_of


def evaluation_loader(
    dataset: Any,
    batch_size: int,
    num_workers: int,
    *,
    seed: int,
    pin_memory: bool,
    rank: int = 0,
    size: int = 1,
) -> DataLoader:
    """A DataLoader of one pass over this rank's contiguous share of a dataset.

    A stream that cannot be divided (without `part`) is read in full by every rank.

    Args:
        dataset: its `collater` makes the batches.
        batch_size: clips per batch.
        num_workers: DataLoader workers.
        seed: of the workers.
        pin_memory: for copies to a GPU.
        rank, size: rank and world size.
    """
    collate = getattr(dataset, "collater", None)
    if size > 1 and divisible(dataset):
        if hasattr(dataset, "part"):
            dataset = dataset.part(rank, size)
        else:
            first, last = (round(len(dataset) * end / size) for end in (rank, rank + 1))
            dataset = Subset(dataset, range(first, last))
    return DataLoader(
        dataset,
        batch_size=batch_size,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=workers.start,
    )


def divisible(dataset: Any) -> bool:
    """Whether each rank can evaluate a share of the dataset."""
    return hasattr(dataset, "part") or not isinstance(dataset, IterableDataset)


@torch.no_grad()
def evaluate(
    *,
    task: Any,
    model: torch.nn.Module,
    batches: Iterable[Batch],
    clips: int | None,
    split: str,
    precision: Precision,
    device: torch.device,
    cache: PredictionCache | None = None,
    check: Callable[[], None] = lambda: None,
    shown: bool = True,
) -> tuple[list, list[str]]:
    """Run `task.valid_step` on all batches.

    Args:
        task: has `valid_step`.
        model: set to eval mode.
        batches: of this process.
        clips: of this process, for the progress bar; None: unknown.
        split: its name, for the messages.
        precision: of the forward passes.
        device: of the model.
        cache: prediction cache; answered rows are not computed again.
        check: called between batches; it raises to end the evaluation.
        shown: whether this process shows a progress bar.

    Returns:
        The rows, and names and reasons of clips that the dataset skipped.
    """
    model.eval()
    results: list = []
    left_out: list[str] = []
    with progress_bar(clips, f"evaluating {split}", "clip", shown=shown, lines=True) as bar:
        for batch in workers.fetched(batches):
            check()
            samples = to_device(batch, device)
            left_out.extend(samples.pop("skipped", ()))
            with precision.autocast():
                if cache is None:
                    results.extend(task.valid_step(model=model, samples=samples))
                else:
                    results.extend(cache.answer(task, model, samples))
            bar.update(clips_in(samples))
    if left_out:
        logging.warning(
            "skipped %d clips of %s (listed in evaluation.json): %s",
            len(left_out),
            split,
            first_of(left_out, "; "),
        )
    return results, left_out
