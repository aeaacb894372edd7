"""Command line: writes shards of the sound world, or a few clips to listen to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import soundfile

from pal_plugin.soundworld.corpus import text_corpus
from pal_plugin.soundworld.events import LABELS, SAMPLE_RATE_HZ
from pal_plugin.soundworld.questions import items
from pal_plugin.soundworld.render import render
from pal_plugin.soundworld.seeds import SPLITS, split_scene
from pal_plugin.soundworld.shards import ensure_shards

EPILOG = f"""\
The sound world is synthetic audio with known content: {len(LABELS)} kinds of sound
({", ".join(LABELS)}),
alone (once, or two to five times) or two to three kinds in sequence or overlapping. Each scene
has a label (the dominant kind), captions, and questions with correct answers. Everything is
drawn from (split, seed, clip index), so the same command gives the same clips on any machine and
with any number of workers; train, val and test never share a scene.

examples:
  # 3000 training clips and 600 validation clips as WebDataset tars (FLAC + JSON)
  python -m pal_plugin.soundworld --split train --clips 3000 --out sound_world
  python -m pal_plugin.soundworld --split val --clips 600 --out sound_world

  # twelve WAV files with their questions, and their spectrograms if matplotlib is installed
  python -m pal_plugin.soundworld --preview look_here

  # text for pretraining a small LLM
  python -m pal_plugin.soundworld --texts 5
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pal_plugin.soundworld",
        description="Write labelled synthetic audio, a controllable audio benchmark.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="write shards under this folder")
    what.add_argument("--preview", type=Path, metavar="DIR", help="write WAV files to listen to")
    what.add_argument("--texts", type=int, metavar="N", help="print N texts of the text corpus")
    parser.add_argument("--split", choices=SPLITS, default="train", help="default: train")
    parser.add_argument("--clips", type=int, metavar="N", help="default: 3000; preview: 12")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one per core)"
    )
    return parser


def _picture(path: Path, waves: list, titles: list[str]) -> bool:
    """Plots spectrograms of the clips; returns False if matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        return False
    columns = 4
    rows = -(-len(waves) // columns)
    figure = Figure(figsize=(4.5 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(waves) :]:
        axis.set_visible(False)
    for axis, wave, title in zip(axes[: len(waves)], waves, titles, strict=True):
        axis.specgram(wave + 1e-7, NFFT=512, noverlap=384, Fs=SAMPLE_RATE_HZ, vmin=-140, vmax=-40)
        axis.set_title(title, fontsize=8, wrap=True)
    figure.savefig(path, dpi=90)
    return True


def preview(folder: Path, split: str, clips: int, seed: int) -> None:
    """Writes `clips` WAV files, a JSON of events and questions for each, and their spectrograms."""
    folder.mkdir(parents=True, exist_ok=True)
    waves, titles = [], []
    for index in range(clips):
        scene, rng = split_scene(split, seed, index)
        name = f"{index:03d}_{scene.label.replace(' ', '_')}"
        waves.append(render(scene))
        asked = items(scene, rng)
        titles.append(next(i["answer"] for i in asked if i["question_type"] == "caption"))
        soundfile.write(folder / f"{name}.wav", waves[-1], SAMPLE_RATE_HZ)
        record = {"events": [event.as_dict() for event in scene.events], "items": asked}
        (folder / f"{name}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        print(f"{name}.wav  {scene.seconds:.1f} s  {titles[-1]}")
    if _picture(folder / "spectrograms.png", waves, titles):
        print(f"spectrograms: {folder / 'spectrograms.png'}")
    else:
        print("no spectrograms: matplotlib is not installed (pip install matplotlib)")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in ("clips", "texts", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    if options.texts:
        print(*islice(text_corpus(options.seed), options.texts), sep="\n")
    elif options.preview:
        preview(options.preview, options.split, options.clips or 12, options.seed)
    else:
        paths = ensure_shards(
            options.out, options.split, options.clips or 3000, options.seed, options.workers
        )
        print(f"{len(paths)} shards in {paths[0].parent}")


if __name__ == "__main__":
    main()
