"""`pal data`: list, fetch, convert, verify, stats, show, encode. The work is in
`pal_plugin.corpora`, of encode in `pal_plugin.training`."""

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

pal data convert --help says more of converting.
"""
RATE_HZ = Number(1000, 384_000, whole=True)
SHARD_CLIPS = Number(1, 10**6, whole=True)
MIN_SECONDS = Number(most=3600)
PROCESSES = Number(1, 1024, whole=True)
SHOWN = Number(1, 1000, whole=True)

_CONVERT = """\
The shards are tars in WebDataset's layout, each clip KEY.EXTENSION with KEY.json, which holds all
captions or questions of the clip. OUT/index.json has counts, durations, hashes and licences, and
lists every clip that is missing, broken (with the reason), too short, or there twice.

examples:
  # the files' own bytes, five folds of ESC-50 as two sets:
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=1,2,3,4 --split train --out shards/esc50-train
  pal data convert esc50 --audio ESC-50/audio --annotations ESC-50/meta/esc50.csv \\
      --where fold=5 --split test --out shards/esc50-test
  # FLAC at 16 kHz, by four processes:
  pal data convert clotho --audio development --annotations clotho_captions_development.csv \\
      clotho_metadata_development.csv --format flac --rate 16000 --workers 4 --out shards/clotho
  # nothing but folders:
  pal data convert librispeech --audio LibriSpeech/test-clean --out shards/test-clean
  # your own: a CSV with the columns audio and label (or caption, transcript, question and answer)
  pal data convert own --audio clips --annotations mine.csv --out shards/mine

Killed, or the disk full? The same command goes on where it was: what is finished stays, and the
result is the same, whatever the number of workers. `pal data list` names the datasets.
"""

_FETCH = """\
esc10   ESC-10, 400 clips of 5 s: ten kinds of environmental sound
fsdd    Free Spoken Digit Dataset, 3000 clips: the digits in English

They come from GitHub, the archive of one commit each, and are laid out as the recipes of
projects/pal/mini read them. Each clip is checked by its hash where one is known; of the others,
which the recipes do not use, it is said that they were not. Killed, or no connection? The same
command goes on; what is whole stays. docs/data.md says more.

examples:
  PAL_DATA=FOLDER pal data fetch esc10 fsdd
  pal data fetch esc10 --out audio --from https://mirror.example/github
"""

_ENCODE = """\
What frozen encoders make of each clip does not change, so it is made once and read by every run,
stage and model type with these encoders (docs/training.md). A training run keeps it as it goes;
this makes it ahead, for the splits that the recipe trains and evaluates on, on as many processes
and machines as there are. It tells the bytes first. Interrupted, the same command goes on.

examples:
  pal data encode lal_stage1 --options model.encoders.sslam.cache=true --dry-run
  pal data encode stage1 qwen2.5_1.5b lal --options model.encoders.sslam.cache.dtype=half
  torchrun --nproc-per-node 8 -m pal_plugin data encode my_run.yaml
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """What is said after Ctrl-C."""
    return "the same command resumes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands of `pal data`."""
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

    action("list", _list, "name the datasets that can be converted, and the files they take")

    add = action("fetch", _fetch, "download public clips that are small", _FETCH).add_argument
    add("names", nargs="+", metavar="NAME", help="esc10, fsdd")
    about = "a folder is made in it for each (default: PAL_DATA/audio)"
    add("--out", metavar="FOLDER", help=about)
    about = "a mirror that answers as https://github.com does (default: $PAL_GITHUB, or that)"
    add("--from", dest="base", metavar="URL", help=about)

    add = action(
        "convert", _convert, "write a dataset's original files as shards", _CONVERT
    ).add_argument
    add("dataset", metavar="DATASET", help="a name of: pal data list")
    add("--audio", required=True, metavar="DIR", help="folder of the audio files")
    add("--annotations", nargs="+", default=[], metavar="FILE", help="the dataset's own files")
    add("--out", required=True, metavar="SHARDS", help="folder to write into")
    add("--split", metavar="NAME", help="a name for these shards")
    about = "only rows with these values, such as fold=1,2 or split=test"
    add("--where", nargs="+", default=[], metavar="COLUMN=VALUE,...", help=about)
    about = "the files' own bytes (default), or re-encoded in mono"
    add("--format", default="keep", metavar="keep|flac|ogg", help=about)
    add("--rate", type=RATE_HZ.argument, metavar="HZ", help="of flac and ogg; else as it is")
    about = "clips a shard (default 500)"
    add("--shard-size", type=SHARD_CLIPS.argument, default=500, metavar="CLIPS", help=about)
    about = "shorter ones are left out (0.1)"
    add("--min-seconds", type=MIN_SECONDS.argument, default=0.1, metavar="S", help=about)
    add("--workers", type=PROCESSES.argument, metavar="N", help="processes (default: one a core)")
    add(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep what an earlier run of this conversion finished (default); --no-resume replaces "
        "whatever conversion is in SHARDS",
    )

    verify = action("verify", _verify, "check every hash, clip and JSON; exit code 1 if any fails")
    stats = action("stats", _stats, "count what is in shards; with --out also as plots")
    show = action(
        "show", _show, "print a few clips; with --out also draw them with their spectrograms"
    )
    for command in (verify, stats, show):
        about = "a folder, tars, 'a-{000..009}.tar', or 'pipe:COMMAND'"
        command.add_argument("shards", nargs="+", metavar="SHARDS", help=about)
    stats.add_argument("--out", type=_picture, metavar="PNG", help="durations, rates and labels")
    show.add_argument("-n", type=SHOWN.argument, default=4, metavar="N", help="clips (default 4)")
    show.add_argument("--seed", type=SEED.argument, default=0, help="of the choice (default 0)")
    show.add_argument("--out", type=_picture, metavar="PNG", help="the page")

    encode = action("encode", _encode, "make what frozen encoders give of each clip", _ENCODE)
    options.add_recipe(encode)
    about = "clips at a time of each process (default: run.batch_size_train)"
    encode.add_argument("--batch-size", type=BATCH.argument, metavar="CLIPS", help=about)
    encode.add_argument("--dry-run", action="store_true", help="tell the bytes, and end")


def _picture(text: str) -> Path:
    """A file that can be drawn; the ending chooses the format."""
    if Path(text).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise argparse.ArgumentTypeError(f"{text!r} must end in .png, .pdf or .svg")
    return Path(text)


def run(args: argparse.Namespace) -> int:
    """Do what was asked. Returns the exit code."""
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
        # The licence is told before anything is downloaded.
        _say(f"{source.about}\n  from {source.repository}, about {source.megabytes} MB")
        _say(f"  licence: {source.licence}, {source.licence_url}")
        facts = fetch(source, out, args.base)
        unchecked = facts["not_checked_by_hash"]
        _say(f"  {facts['clips']} clips in {out / source.folder}: {', '.join(facts['tables'])}")
        _say(f"  checked by hash: {facts['checked_by_hash']}")
        if unchecked["clips"]:
            about = f"  decoded, but NOT checked by hash: {unchecked['clips']}"
            _say(f"{about} ({unchecked['which']}), as no hash of them is known")
        for fault in facts["left_out"]:
            _say(f"  left out, cannot be used: {fault}")
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
        _say("no clip can be used; the index says why of each")
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
    _say("\n\n".join(text_of(raw) for raw in clips))
    if args.out:
        draw_page(clips, args.out)
        _say(f"written: {args.out}")
    return 0


def _encode(args: argparse.Namespace) -> int:
    cfg = options.loader(args)().changed(run={"evaluate": False})
    from pal_plugin.training.encoding import encode

    encode(cfg, batch_size=args.batch_size, dry_run=args.dry_run)
    return 0
