"""`pal data`: list, fetch, convert, verify, stats, show, encode. The work is done in
`pal_plugin.corpora`, for encode in `pal_plugin.training`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pal_plugin.commands import options
from pal_plugin.config.kinds import Number
from pal_plugin.config.ranges import BATCH, SEED
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.printable import printable
from pal_plugin.utils.tables import text_table

HELP = """\
examples:
  pal data list
  pal data fetch esc10 fsdd --out audio
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=1,2,3,4 --split train --out shards/esc50-train
  pal data convert audiocaps --audio AUDIO --annotations train.csv --out shards/audiocaps-train
  pal data verify shards/esc50-train
  pal data stats shards/esc50-train --out stats.png
  pal data show shards/esc50-train -n 4 --out page.png
  pal data encode lal_stage1 --options model.encoders.sslam.cache=true

See pal data convert --help for conversions.
"""
RATE_HZ = Number(1000, 384_000, whole=True)
SHARD_CLIPS = Number(1, 10**6, whole=True)
MIN_SECONDS = Number(most=3600)
PROCESSES = Number(1, 1024, whole=True)
SHOWN = Number(1, 1000, whole=True)

_CONVERT = """\
The shards are tar files in WebDataset's layout: each clip is KEY.EXTENSION with KEY.json, which has
all captions or questions of the clip. OUT/index.json has counts, durations, hashes and licences,
and lists every clip that is missing, broken (with the reason), too short, or duplicated.

examples:
  # original bytes, five folds of ESC-50 as two splits:
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=1,2,3,4 --split train --out shards/esc50-train
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=5 --split test --out shards/esc50-test
  # FLAC at 16 kHz, with four processes:
  pal data convert clotho --audio development --annotations clotho_captions_development.csv \\
      clotho_metadata_development.csv --format flac --rate 16000 --workers 4 --out shards/clotho
  # folders only, no annotations:
  pal data convert librispeech --audio LibriSpeech/test-clean --out shards/test-clean
  # your own: a CSV with the columns audio and label (or caption, transcript, question and answer)
  pal data convert own --audio clips --annotations mine.csv --out shards/mine

After an interruption the same command resumes: finished shards are kept, and the result does not
depend on the number of workers. `pal data list` lists the datasets.
"""

_FETCH = """\
esc10   ESC-10, 400 clips of 5 s: ten kinds of environmental sound
fsdd    Free Spoken Digit Dataset, 3000 clips: the digits in English

They are downloaded from GitHub, as the archive of one commit each, and laid out as the recipes of
projects/pal/mini read them. Clips are verified by their hashes where known; the others, which the
recipes do not use, are reported as unverified. After an interruption the same command resumes. See
docs/data.md.

examples:
  PAL_DATA=FOLDER pal data fetch esc10 fsdd
  pal data fetch esc10 --out audio --from https://mirror.example/github
"""

_ENCODE = """\
The states of frozen encoders do not change, so they are computed once and read by every run, stage
and model type with these encoders (docs/training.md). A training run fills the cache as it goes;
this command fills it beforehand, for the splits that the recipe trains and evaluates on, with any
number of processes and hosts. It logs the required size first. After an interruption the same
command resumes.

examples:
  pal data encode lal_stage1 --options model.encoders.sslam.cache=true --dry-run
  pal data encode stage1 qwen2.5_1.5b lal --options model.encoders.sslam.cache.dtype=half
  torchrun --nproc-per-node 8 -m pal_plugin data encode my_run.yaml
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """How to resume after Ctrl-C; arguments as in `train.resume`."""
    return "the same command resumes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `pal data`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, do: Callable, about: str, epilog: str | None = None) -> Any:
        parser = actions.add_parser(
            name,
            help=about,
            description=about[0].upper() + about[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.set_defaults(do=do)
        return parser

    action("list", _list, "list the datasets that can be converted, and the files they need")

    add = action("fetch", _fetch, "download small public datasets", _FETCH).add_argument
    add("names", nargs="+", metavar="NAME", help="esc10, fsdd")
    about = "parent folder of the datasets' folders (default: PAL_DATA/audio)"
    add("--out", metavar="FOLDER", help=about)
    about = "a mirror of https://github.com (default: $PAL_GITHUB, or github.com itself)"
    add("--from", dest="base", metavar="URL", help=about)

    add = action(
        "convert", _convert, "convert a dataset's original files to shards", _CONVERT
    ).add_argument
    add("dataset", metavar="DATASET", help="a name from: pal data list")
    add("--audio", required=True, metavar="DIR", help="folder of the audio files")
    add("--annotations", nargs="+", default=[], metavar="FILE", help="the dataset's own files")
    add("--out", required=True, metavar="SHARDS", help="output folder")
    add("--split", metavar="NAME", help="split name of these shards")
    about = "only rows with these values, such as fold=1,2 or split=test"
    add("--where", nargs="+", default=[], metavar="COLUMN=VALUE,...", help=about)
    about = "keep the original bytes (default), or re-encode in mono"
    add("--format", default="keep", metavar="keep|flac|ogg", help=about)
    about = "sample rate of flac and ogg (default: that of the file)"
    add("--rate", type=RATE_HZ.argument, metavar="HZ", help=about)
    about = "clips per shard (default: 500)"
    add("--shard-size", type=SHARD_CLIPS.argument, default=500, metavar="CLIPS", help=about)
    about = "skip shorter clips (default: 0.1)"
    add("--min-seconds", type=MIN_SECONDS.argument, default=0.1, metavar="S", help=about)
    add("--workers", type=PROCESSES.argument, metavar="N", help="processes (default: one per core)")
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep the finished shards of an interrupted conversion (default); --no-resume "
        "replaces any conversion in SHARDS",
    )

    verify = action("verify", _verify, "check every hash, clip and JSON; exit code 1 if any fails")
    stats = action("stats", _stats, "print statistics of shards; with --out also plot them")
    show = action("show", _show, "print a few clips; with --out also draw their spectrograms")
    for command in (verify, stats, show):
        about = "a folder, tar files, 'a-{000..009}.tar', or 'pipe:COMMAND'"
        command.add_argument("shards", nargs="+", metavar="SHARDS", help=about)
    about = "plot durations, sample rates and labels"
    stats.add_argument("--out", type=_picture, metavar="PNG", help=about)
    show.add_argument("-n", type=SHOWN.argument, default=4, metavar="N", help="clips (default: 4)")
    about = "seed of the choice of clips (default: 0)"
    show.add_argument("--seed", type=SEED.argument, default=0, help=about)
    show.add_argument("--out", type=_picture, metavar="PNG", help="draw the spectrograms")
    about = "tokenizer that shows what a conversation's loss is computed on (default: pocket://llm)"
    show.add_argument("--llm", default="pocket://llm", metavar="LLM", help=about)
    about = "where the clips that open a conversation are shown (default: front)"
    show.add_argument("--audio-place", default="front", choices=("front", "inline"), help=about)

    encode = action("encode", _encode, "cache the states of frozen encoders", _ENCODE)
    options.add_recipe(encode)
    about = "clips per batch and process (default: run.batch_size_train)"
    encode.add_argument("--batch-size", type=BATCH.argument, metavar="CLIPS", help=about)
    encode.add_argument("--dry-run", action="store_true", help="only log the required size")


def _picture(text: str) -> Path:
    """The path of a plot; its extension chooses the format."""
    if Path(text).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .png, .pdf or .svg")
    return Path(text)


def run(args: argparse.Namespace) -> int:
    """Run the subcommand. Returns the exit code."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    return args.do(args)


def parse_where(pairs: list[str]) -> dict[str, list[str]]:
    """`["fold=1,2"]` -> `{"fold": ["1", "2"]}`.

    Raises:
        ConfigError: a pair without `=`.
    """
    where: dict[str, list[str]] = {}
    for pair in pairs:
        column, sign, values = pair.partition("=")
        if not sign or not column or not values:
            raise ConfigError(f"--where {pair}: expected COLUMN=VALUE or COLUMN=VALUE,VALUE")
        where.setdefault(column, []).extend(values.split(","))
    return where


def _say(text: str) -> None:
    print(printable(text))


def _list(args: argparse.Namespace) -> int:
    from pal_plugin.corpora.readers import READERS

    rows = [
        row
        for name, entry in READERS.items()
        for row in ((name, entry.about), ("", f"annotations: {entry.annotations}"))
    ]
    _say(text_table(rows, "ll", rule=False))
    return 0


def _fetch(args: argparse.Namespace) -> int:
    from pal_plugin.corpora.fetching.fetch import default_folder, fetch, source_of

    sources = [source_of(name) for name in dict.fromkeys(args.names)]
    out = Path(args.out) if args.out else default_folder()
    for source in sources:
        # Show the licence before the download.
        _say(f"{source.about}\n  from {source.repository}, about {source.megabytes} MB")
        _say(f"  licence: {source.licence}, {source.licence_url}")
        facts = fetch(source, out, args.base)
        unchecked = facts["not_checked_by_hash"]
        _say(f"  {facts['clips']} clips in {out / source.folder}: {', '.join(facts['tables'])}")
        _say(f"  verified by hash: {facts['checked_by_hash']}")
        if unchecked["clips"]:
            about = f"  decoded, but NOT verified by hash: {unchecked['clips']}"
            _say(f"{about} ({unchecked['which']}), as their hashes are unknown")
        for fault in facts["left_out"]:
            _say(f"  skipped, unusable: {fault}")
    return 0


def _convert(args: argparse.Namespace) -> int:
    from pal_plugin.corpora.shards.convert import convert, summary

    index = convert(
        *(args.dataset, args.audio, args.annotations, args.out),
        split=args.split,
        where=parse_where(args.where),
        form=args.format,
        rate_hz=args.rate,
        shard_clips=args.shard_size,
        min_seconds=args.min_seconds,
        workers=args.workers,
        resume=args.resume,
    )
    _say(summary(index))
    _say(f"written: {Path(args.out)}")
    if not index["clips"]:
        _say("no usable clip; index.json gives the reason for each")
        return 1
    return 0


def _verify(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from pal_plugin.corpora.shards.reading import find_shards

    shards = find_shards(args.shards)
    from pal_plugin.corpora.shards.verify import verify  # needs libsndfile

    with tqdm(total=shards.clips, desc="verify", unit="clip") as bar:
        faults = verify(shards, bar.update)
        checked = bar.n
    for fault in faults:
        _say(fault)
    _say(f"{checked} clips in {len(shards.urls)} shards: {len(faults) or 'no'} faults")
    return 1 if faults else 0


def _stats(args: argparse.Namespace) -> int:
    from pal_plugin.corpora.shards.reading import find_shards
    from pal_plugin.corpora.shards.stats import plot, statistics, table

    stats = statistics(find_shards(args.shards))
    _say(table(stats))
    if args.out:
        plot(stats, args.out)
        _say(f"written: {args.out}")
    return 1 if stats.unreadable else 0


def _show(args: argparse.Namespace) -> int:
    from pal_plugin.corpora.shards.reading import find_shards

    shards = find_shards(args.shards)
    from pal_plugin.corpora.shards.show import draw_page, sample_clips, text_of  # import torch

    clips = sample_clips(shards, args.n, args.seed)
    read = _reader_of_messages(args.llm, args.audio_place)
    _say("\n\n".join(text_of(raw, read) for raw in clips))
    if args.out:
        draw_page(clips, args.out)
        _say(f"written: {args.out}")
    return 0


def _reader_of_messages(llm: str, audio_place: str) -> Callable[[list], str]:
    """Writes conversations as an LLM reads them, for `text_of`."""
    from pal_plugin.llm.conversation import read_messages, with_learned
    from pal_plugin.llm.loading import load_tokenizer
    from pal_plugin.llm.prompts import TextFormat
    from pal_plugin.utils.hub import snapshot
    from pal_plugin.utils.locations import resolve

    folder = snapshot(resolve(llm), ["tokenizer*", "vocab*", "*.model", "config.json", "*.jinja"])
    text = TextFormat(load_tokenizer(folder))
    return lambda messages: with_learned(text, read_messages(text, messages, audio_place))


def _encode(args: argparse.Namespace) -> int:
    cfg = options.loader(args)().changed(run={"evaluate": False})
    from pal_plugin.training.encoding import encode

    encode(cfg, batch_size=args.batch_size, dry_run=args.dry_run)
    return 0
