"""`pal data encode`: fill the caches of encoder states before training.

Any number of processes share the clips; cached clips are skipped, so rerunning the same command
resumes.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import nn

from pal_plugin.audio.features import Features
from pal_plugin.config.merging import present
from pal_plugin.config.registry import TASKS
from pal_plugin.config.run_config import RunConfig
from pal_plugin.datasets import workers
from pal_plugin.datasets.collate import audio_clips_of, clips_of
from pal_plugin.datasets.source import parts_of
from pal_plugin.encoders.cache_shards import bytes_below, gb
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.evaluation.loop import evaluation_loader
from pal_plugin.models import checkpoint
from pal_plugin.models.build import build_encoders, caches_of
from pal_plugin.training import caching, distributed, launch
from pal_plugin.training.components import device_of
from pal_plugin.training.distributed import World
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.locations import resolve
from pal_plugin.utils.precision import Precision
from pal_plugin.utils.runtime import progress_bar
from pal_plugin.utils.spelling import first_of

#: Clips of each dataset that are encoded to estimate the total size.
_SAMPLE = 8


class Encoders(nn.Module):
    """The cached encoders of a run, with the weights that its model would have, without the LLM.

    Args:
        cfg: of a run; encoders without `cache` are not built.

    Raises:
        ConfigError: no encoder has a cache.
        ValueError: an encoder cannot be built, or is trainable.
    """

    def __init__(self, cfg: RunConfig) -> None:
        super().__init__()
        section = cfg.to_dict()["model"]
        entries = present(section["encoders"])
        self.frontend = AudioFrontend(entries)
        self.caches = caches_of(self.frontend, section.get("stage") or {})
        if not self.caches:
            raise ConfigError(
                "no encoder of this recipe has a cache; enable it with --options "
                + " ".join(f"model.encoders.{name}.cache=true" for name in entries)
            )
        kept = {name: entries[name] for name in self.caches}
        self.encoders = nn.ModuleDict(build_encoders(kept))
        if cfg.model_cfg.get("checkpoint"):
            location = launch.located(str(cfg.model_cfg.checkpoint), cfg)
            checkpoint.load_encoders(self.encoders, resolve(location))
        self.requires_grad_(False).eval()


def encode(cfg: RunConfig, *, batch_size: int | None, dry_run: bool) -> None:
    """Encode all clips of the splits that a run would use, with all their augmented variants.

    Args:
        cfg: of the run.
        batch_size: clips per batch and process; None: `run.batch_size_train`.
        dry_run: only log the estimated size.

    Raises:
        ConfigError: no encoder has a cache, a dataset cannot be built or has an unknown number of
            clips, or the states would exceed `limit_gb`.
    """
    run, world = cfg.run_cfg, launch.join(cfg)
    launch.prepare_process(run)
    device = device_of(cfg.device_name, world)
    precision = Precision(run.amp, device)
    model = launch.as_user_error("the encoders cannot be built", Encoders, cfg).to(device)
    build = TASKS.get(run.task).setup_task(cfg=cfg).build_datasets
    built = launch.as_user_error("the datasets cannot be built", build, cfg)
    datasets = {f"{n} {split}": d for n, of in built.items() for split, d in of.items()}
    caching.open_caches(model, datasets, precision, device, verbose=world.first, sizes_only=True)
    passes = [one for where, d in datasets.items() for one in _passes(where, d)]
    filler = _Filler(model, precision, int(batch_size or run.batch_size_train), run.num_workers)
    with caching.storing(model):
        fault = world.from_first(_check_sizes(filler, passes) if world.first else None)
        if fault is not None:
            raise ConfigError(fault)
        if not dry_run:
            _fill(filler, passes, world)
    world.wait()
    if not dry_run:
        for cache in model.caches.values():
            logging.info("%s: %d clips cached", cache.shards.folder, len(cache.shards))


class _Filler:
    """Encodes and stores the clips of a batch that are not cached yet."""

    def __init__(
        self, model: Encoders, precision: Precision, batch_size: int, num_workers: int
    ) -> None:
        self.model, self.precision = model, precision
        self.batch_size, self.num_workers = batch_size, num_workers

    def batches(self, dataset: Any, world: World) -> Any:
        """A loader of one pass over this process's share of the clips."""
        return evaluation_loader(
            dataset,
            self.batch_size,
            self.num_workers,
            seed=0,
            pin_memory=False,
            rank=world.rank,
            size=world.size,
        )

    @torch.no_grad()
    def fill(self, audio: Features) -> dict[str, int]:
        """Encode a batch; returns the bytes of its states by encoder."""
        sizes = {}
        with self.precision.autocast():
            for name, cache in self.model.caches.items():
                entry = audio[name]
                tokens = int(entry["valid"].sum()) if "valid" in entry else 0
                if any(entry["keys"]):
                    tokens += int(cache.fill(self.model.encoders[name], entry).mask.sum())
                sizes[name] = tokens * cache.token_bytes
        return sizes


def _passes(where: str, dataset: Any) -> Iterator[tuple[Any, int]]:
    """`(dataset of one finite pass, clips)` for each source dataset and each augmented variant."""
    for part in parts_of(dataset):
        clips = clips_of(part)
        if clips is None:
            raise ConfigError(f"{where}: its number of clips is unknown; set build_info.counts")
        processor = getattr(part, "audio_processor", None)
        if not hasattr(processor, "look_in"):
            continue  # open_caches has warned
        for number in range(getattr(processor, "variants", 1)):
            one, one_processor = copy.copy(part), copy.copy(processor)
            one_processor.frontend, one_processor.variant = processor.frontend.of_kept(), number
            one.audio_processor = one_processor
            one.train, one.allow_missing = False, True  # each clip once; unreadable ones are listed
            yield one, clips


def _check_sizes(filler: _Filler, passes: list[tuple[Any, int]]) -> str | None:
    """Log the estimated size of all states, extrapolated from each dataset's first clips.

    Returns:
        The error message if it exceeds a limit, else None.
    """
    needed = dict.fromkeys(filler.model.caches, 0.0)
    small = _Filler(filler.model, filler.precision, _SAMPLE, 0)
    with caching.storing(filler.model):
        for one, clips in passes:
            for batch in islice(small.batches(one, distributed.ALONE), 1):
                if "audio" in batch:
                    for name, size in small.fill(batch["audio"]).items():
                        needed[name] += size / batch["num_clips"] * clips
    clips = sum(audio_clips_of(one) or 0 for one, _ in passes)
    for name, size in needed.items():
        logging.info("%s: about %s for %d clips (variants included)", name, gb(size), clips)
    for name, cache in filler.model.caches.items():
        others = cache.used_bytes - bytes_below(cache.shards.folder)
        if others + sum(needed.values()) > cache.settings.limit_gb * 1e9:
            return (
                f"these states and the {gb(others)} of others in {cache.settings.root} exceed "
                f"model.encoders.{name}.cache.limit_gb={cache.settings.limit_gb:g}: raise the "
                "limit, set cache.dtype=half, use fewer variants, or delete other states"
            )
    return None


def _fill(filler: _Filler, passes: list[tuple[Any, int]], world: World) -> None:
    skipped: list[str] = []
    total = sum(clips for _, clips in passes)
    with progress_bar(total // world.size, "encode", "clip", shown=world.first, lines=True) as bar:
        for one, _ in passes:
            for batch in workers.fetched(filler.batches(one, world)):
                skipped += batch["skipped"]
                if "audio" in batch:
                    filler.fill(batch["audio"])
                bar.update(batch["num_clips"] + len(batch["skipped"]))
    skipped = [name for names in world.gather(skipped) for name in names]
    if skipped and world.first:
        named = first_of(sorted(set(skipped)), "; ")
        logging.warning("skipped %d unusable clips: %s", len(set(skipped)), named)
