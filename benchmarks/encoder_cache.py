"""A training step with and without cached encoder states, in turns, on the same batches."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pal_plugin.audio.background import Backgrounds
from pal_plugin.config.merging import present
from pal_plugin.config.recipes import find_recipes
from pal_plugin.config.run_config import load_config
from pal_plugin.encoders.cache import CacheSettings, EncoderCache
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.audio_llm import AudioLLM

_EPILOG = """\
example:
  OMP_NUM_THREADS=1 python -m benchmarks.encoder_cache lal_stage1 --clips ESC-50/audio

what is timed: for each batch the work of a DataLoader worker (decoding and features, or cache
look-up) and the step (encoding, forward, backward, optimizer; the learning rate is 0, so all steps
compute the same). Losses must be bitwise equal. docs/training.md has results.
"""
QUESTION, ANSWER = "What do you hear?", "a dog barks in the rain"


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Measure, print ratios (and seconds on a GPU), and return the median seconds by part."""
    args = _parser().parse_args(argv)
    section = load_config(find_recipes(args.recipe), args.options).to_dict()["model"]
    torch.manual_seed(0)
    model = AudioLLM.from_config(section).to(args.device).train()
    files = Backgrounds(args.clips).files[: args.batch * args.batches]
    groups = [files[i : i + args.batch] for i in range(0, len(files), args.batch)]
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(model, AudioFrontend(present(section["encoders"])), groups, folder)
    print(f"{len(files)} clips in batches of {args.batch}, kept against encoded")
    for what in sorted({name.partition(", ")[0] for name in seconds}):
        print(f"{what}: {seconds[f'{what}, encoded'] / seconds[f'{what}, kept']:.2f} times as fast")
    if model.device.type != "cpu":
        print(", ".join(f"{name} {value:.3g} s" for name, value in seconds.items()))
    return seconds


def measure(
    model: AudioLLM, frontend: AudioFrontend, groups: list[list[Path]], folder: str
) -> dict[str, float]:
    """Median seconds of loading a batch and of a step, encoded and cached."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    caches = {n: EncoderCache(n, CacheSettings(folder=folder)) for n in model.encoders}
    front_ends = model.frontend.features
    shards = {n: cache.open(model.encoders[n], front_ends[n]) for n, cache in caches.items()}

    def turn(group: list[Path], cached: bool) -> tuple[float, float, float]:
        frontend.look_in(shards if cached else {})
        model.caches = caches if cached else {}
        begun = time.perf_counter()
        batch: dict[str, Any] = {"audio": frontend.collate([frontend(file) for file in group])}
        made = time.perf_counter()
        batch |= {"text_input": [QUESTION] * len(group), "text_output": [ANSWER] * len(group)}
        loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value = loss.item()  # waits for a GPU
        return made - begun, time.perf_counter() - made, value

    for group in groups:
        turn(group, cached=True)
    for cache in caches.values():
        cache.flush()
    rounds = [(turn(group, cached=False), turn(group, cached=True)) for group in groups]
    for (*_, expected), (*_, loss) in rounds:
        if loss != expected:
            raise RuntimeError(f"expected the loss {expected}, got {loss} with cached states")
    return {
        f"{what}, {how}": statistics.median(both[place][part] for both in rounds)
        for part, what in enumerate(("batch", "step"))
        for place, how in enumerate(("encoded", "kept"))
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoder_cache",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("recipe", nargs="+", metavar="RECIPE", help="run files or names that define the model")
    add("--options", nargs="+", default=[], metavar="KEY=VALUE", help="changes to the recipe")
    add("--clips", required=True, metavar="DIR", help="folder of audio files")
    add("--batch", type=int, default=16, metavar="CLIPS")
    add("--batches", type=int, default=6, metavar="N")
    add("--device", default="cpu")
    return parser


if __name__ == "__main__":
    main()
