"""The caches of encoder states in a run: opened before data are read, and what they will take told.

The model encodes and stores; its data sets' processors look up, in the data workers.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from pal_plugin.datasets.collate import clips_of
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
    told: bool = True,
    sizes_only: bool = False,
) -> None:
    """Open the model's caches, if it has any, for these data sets.

    Args:
        model: with `caches`, `encoders` and `frontend`.
        device: where it will compute.
        datasets: by name, for the messages.
        told: whether this process talks to people.
        sizes_only: as of `StateShards`.

    Raises:
        ConfigError: an encoder that is trained, or a data set whose features are not the model's.
    """
    caches: dict[str, EncoderCache] = getattr(model, "caches", {})
    if not caches:
        return
    front_ends = model.frontend.features
    model.encoders.to(device)  # where layers are shards, the rest of the model comes there later
    with precision.autocast():
        shards = {
            name: cache.open(model.encoders[name], front_ends[name], sizes_only=sizes_only)
            for name, cache in caches.items()
        }
    clips = 0
    for where, dataset in datasets.items():
        for part in parts_of(dataset):
            processor = getattr(part, "audio_processor", None)
            if not hasattr(processor, "look_in"):
                logging.warning("%s: its clips are encoded anew each time, uncached", where)
                continue
            for name in caches:
                _require_same(where, name, processor.frontend.features.get(name), front_ends[name])
            processor.look_in(shards)
            clips += (clips_of(part) or 0) * getattr(processor, "variants", 1)
    if told:
        for cache in caches.values():
            _announce(cache, clips)


@contextlib.contextmanager
def storing(model: nn.Module, among: World = ALONE) -> Iterator[None]:
    """Of what the block encodes nothing is left waiting at its end.

    Args:
        among: processes that all hear the same clips; each stores a part.
    """
    caches = getattr(model, "caches", {}).values()
    for cache in caches:
        cache.part = (among.rank, among.size)
    try:
        yield
    finally:
        for cache in caches:
            cache.flush()


def _announce(cache: EncoderCache, clips: int) -> None:
    limit, needed = cache.settings.limit_gb * 1e9, clips * cache.window_bytes
    logging.info(
        "encoder %s: the states of %d clips are in %s; %d clips (variants counted) of one window "
        "take up to %s; all encoders there: %s, at most %s",
        cache.name,
        len(cache.shards),
        cache.shards.folder,
        clips,
        gb(needed),
        gb(cache.used_bytes),
        gb(limit),
    )
    if needed > limit:
        logging.warning(
            "encoder %s: that may be more than its cache.limit_gb; what does not fit is encoded "
            "each time",
            cache.name,
        )


def _require_same(where: str, name: str, mine: Any, models: Any) -> None:
    if mine is None or settings_of(mine) != settings_of(models):
        raise ConfigError(
            f"{where}: its audio_processor makes other features for the encoder {name!r} than "
            "model.encoders says, so their states cannot be kept; leave its `encoders` out, or "
            f"model.encoders.{name}.cache"
        )
