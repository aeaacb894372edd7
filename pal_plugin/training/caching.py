"""Caches of encoder states in a run: opened before data are read, with their expected size logged.

The model encodes and stores; the datasets' processors look states up in the DataLoader workers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from pal_plugin.datasets.collate import audio_clips_of
from pal_plugin.datasets.source import parts_of
from pal_plugin.encoders.cache import EncoderCache, settings_of
from pal_plugin.encoders.cache_shards import gb
from pal_plugin.training.distributed import ALONE, World
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.precision import Precision


def open_caches(
    model: nn.Module,
    datasets: Mapping[str, Any],
    precision: Precision,
    device: torch.device,
    *,
    verbose: bool = True,
    sizes_only: bool = False,
) -> None:
    """Open the model's caches, if it has any, for these datasets.

    Args:
        model: with `caches`, `encoders` and `frontend`.
        datasets: by name, for the messages.
        precision: of the encoders' forward pass.
        device: of the encoders.
        verbose: whether this process logs the sizes (rank 0).
        sizes_only: see `StateShards`.

    Raises:
        ConfigError: a cached encoder is trainable, or a dataset's features differ from the model's.
    """
    caches: dict[str, EncoderCache] = getattr(model, "caches", {})
    if not caches:
        return
    front_ends = model.frontend.features
    model.encoders.to(device)  # under FSDP the rest of the model is moved later
    with precision.autocast():
        shards = {
            name: cache.open(model.encoders[name], front_ends[name], sizes_only=sizes_only)
            for name, cache in caches.items()
        }
    clips, unknown = 0, []
    for where, dataset in datasets.items():
        for part in parts_of(dataset):
            processor = getattr(part, "audio_processor", None)
            if not hasattr(processor, "look_in"):
                logging.warning(
                    "%s: its audio_processor does not support the cache; its clips are encoded at "
                    "every step",
                    where,
                )
                continue
            for name in caches:
                _require_same(where, name, processor.frontend.features.get(name), front_ends[name])
            processor.look_in(shards)
            count = audio_clips_of(part) if verbose else 0  # may read a few samples
            if count is None:
                unknown.append(where)
            clips += (count or 0) * getattr(processor, "variants", 1)
    if verbose:
        for cache in caches.values():
            _log_size(cache, clips, unknown)


@contextlib.contextmanager
def storing(model: nn.Module, among: World = ALONE) -> Iterator[None]:
    """Flush the caches at the end of the block, so that every state it encoded is written.

    Args:
        among: processes that all encode the same clips; each stores its share.
    """
    caches = getattr(model, "caches", {}).values()
    for cache in caches:
        cache.part = (among.rank, among.size)
    try:
        yield
    finally:
        for cache in caches:
            cache.flush()


def _log_size(cache: EncoderCache, clips: int, unknown: Sequence[str]) -> None:
    """Log what the clips of a run can take.

    Args:
        clips: of all datasets, each in all its variants.
        unknown: datasets whose number of clips is not known, and not counted.
    """
    besides = f" besides those of {', '.join(unknown)}, whose number is unknown" if unknown else ""
    limit, needed = cache.settings.limit_gb * 1e9, clips * cache.window_bytes
    logging.info(
        "encoder %s: %d clips cached in %s; this run has %d clips (variants included)%s, up to "
        "%s at one window each; all encoders in this cache use %s, limit %s",
        cache.name,
        len(cache.shards),
        cache.shards.folder,
        clips,
        besides,
        gb(needed),
        gb(cache.used_bytes),
        gb(limit),
    )
    if needed > limit:
        logging.warning(
            "encoder %s: this may exceed cache.limit_gb; clips beyond the limit are encoded at "
            "every step",
            cache.name,
        )


def _require_same(where: str, name: str, mine: Any, models: Any) -> None:
    if mine is None or settings_of(mine) != settings_of(models):
        raise ConfigError(
            f"{where}: the features of its audio_processor for encoder {name!r} differ from "
            "model.encoders, so cached states would be wrong; remove `encoders` from the "
            f"audio_processor, or set model.encoders.{name}.cache=false"
        )
