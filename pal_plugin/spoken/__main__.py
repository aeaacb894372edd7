"""Command line: writes shards of spoken clips, or a few clips to listen to."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.spoken.settings import SPLITS, Settings, default_build_info
from pal_plugin.spoken.shards import ensure_shards, rendered
from pal_plugin.spoken.texts import sentences, vocabulary
from pal_plugin.spoken.voices import voices
from pal_plugin.utils.errors import UserError

EPILOG = """\
Sentences, word sequences and digits with transcripts, by synthetic voices of espeak-ng (pip install
espeakng-loader). Settings are the defaults of the dataset pal_spoken; run files can change them.
Voices and texts of val and test are not in train.

examples:
  # twelve FLAC clips to listen to, named after their texts
  python -m pal_plugin.spoken --listen look_here --split val

  # 3000 training clips as WebDataset tars
  python -m pal_plugin.spoken --out spoken --split train --clips 3000

  # number of sentences, words and voices
  python -m pal_plugin.spoken --count
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pal_plugin.spoken",
        description="Write synthetic speech with transcripts.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="DIR", help="write shards under this folder")
    what.add_argument("--listen", type=Path, metavar="DIR", help="write clips to listen to")
    what.add_argument("--count", action="store_true", help="count sentences, words and voices")
    parser.add_argument("--split", choices=SPLITS, default="train", help="default: train")
    parser.add_argument("--clips", type=int, metavar="N", help="default: 3000; --listen: 12")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one per core)"
    )
    return parser


def listen(folder: Path, split: str, clips: int, seed: int, settings: Settings) -> None:
    """Writes `clips` FLAC files, named by index and text, and prints a line for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, (clip, audio, seconds) in enumerate(rendered(split, seed, 0, clips, settings)):
        name = f"{index:03d}_{clip.speech.text.replace(' ', '_')}.flac"
        (folder / name).write_bytes(audio)
        behind = f", {clip.noise} noise at {clip.snr_db} dB" if clip.noise else ""
        print(f"{name}  {seconds:.1f} s, {clip.speech.voice}{behind}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for name in ("clips", "workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name} must be at least 1, got {value}")
    split, seed = options.split, options.seed
    settings = Settings.of_split(default_build_info(), split)
    try:
        if options.count:
            for name in SPLITS:
                print(f"{name}: {len(sentences(name))} sentences, {len(voices(name))} voices")
            print(f"{len(vocabulary())} words for sequences")
        elif options.listen:
            listen(options.listen, split, options.clips or 12, seed, settings)
        else:
            clips = options.clips or 3000
            paths = ensure_shards(options.out, split, clips, seed, settings, options.workers)
            print(f"{len(paths)} shards in {paths[0].parent}")
    except UserError as error:
        parser.exit(2, f"{error}\n")


if __name__ == "__main__":
    main()
