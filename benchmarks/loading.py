"""Decoding, resampling and features of a clip: ours against a typical research loader."""

from __future__ import annotations

import argparse
import datetime
import io
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import soundfile
import torch
import torchaudio
from tqdm import tqdm

from benchmarks import report, setting, timing
from benchmarks.features import cases
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.utils.runtime import keep_freed_memory

_EPILOG = """\
examples:
  python -m benchmarks.loading                              # about a minute
  python -m benchmarks.loading --format flac mp3 --seconds 10 --rate 44100

what is compared, one clip at a time in one thread, from a file's bytes to the features of SSLAM,
CLAP and Whisper at their published sizes:
  plain   soundfile, the mean of the channels, torchaudio.functional.resample once for each
          encoder, torchaudio's fbank, and transformers' ClapFeatureExtractor and
          WhisperFeatureExtractor with their defaults
  ours    pal_plugin.encoders.frontend.AudioFrontend

results: OUT/loading_DEVICE_DATE.json and .md
"""

_CONVENTIONS = (
    "A round times plain and ours in turn, and each ratio is made within a round; no absolute time"
    " is written.",
    "Files are in memory: the disk is not timed.",
)
SCHEMA = 1
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
ENCODERS = {
    "sslam": {"type": "sslam", "features": {"window_s": 10.24}},
    "clap": {"type": "clap"},
    "whisper": {"type": "whisper"},
}
_RATES_HZ = {"sslam": 16000, "clap": 48000, "whisper": 16000}


def plain_loader() -> Callable[[bytes], dict[str, torch.Tensor]]:
    """A loader from a file to features by encoder, with plain library calls."""
    stock = {name: case.stock for name, case in cases().items()}

    def load(data: bytes) -> dict[str, torch.Tensor]:
        samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
        waveform = torch.from_numpy(samples.T).mean(0)
        return {
            name: stock[name]([torchaudio.functional.resample(waveform, rate_hz, to_hz)])
            for name, to_hz in _RATES_HZ.items()
        }

    return load


def file_of(kind: str, seconds: float, rate_hz: int) -> bytes:
    """A stereo clip of noise with slowly varying level, as a file."""
    moment = torch.arange(round(seconds * rate_hz)) / rate_hz
    swell = 0.05 + 0.1 * torch.sin(torch.pi * moment / seconds)
    samples = swell[:, None] * torch.randn(len(moment), 2)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.numpy(), rate_hz, format=kind.upper(), subtype=FORMATS[kind])
    return buffer.getvalue()


def main(argv: list[str] | None = None) -> list[Path]:
    """Run the command line; returns the files written."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    torch.manual_seed(args.seed)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a DataLoader worker
    keep_freed_memory()  # as training does
    try:
        rows, device = _measure(args), setting.device("cpu")
    finally:
        torch.set_num_threads(before)
    now = datetime.datetime.now().astimezone()
    document = {
        "schema": SCHEMA,
        "date": now.isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "benchmarks.loading", *argv]),
        "device": device,
        "versions": setting.versions(),
        "settings": {"repeats": args.repeats, "rate_hz": args.rate},
        "conventions": list(_CONVENTIONS),
        "rows": rows,
    }
    text = markdown(document)
    print(text)
    written = report.write(document, args.out / f"loading_cpu_{now:%Y-%m-%d-%H%M}", text)
    print("\n".join(f"wrote {path}" for path in written))
    return written


def _measure(args: argparse.Namespace) -> list[dict]:
    plain, frontend, rows = plain_loader(), AudioFrontend(ENCODERS), []
    plan = [(kind, seconds) for kind in args.format for seconds in args.seconds]
    for kind, seconds in tqdm(plan, unit="cell", disable=args.quiet, leave=False):
        data = file_of(kind, seconds, args.rate)
        runs = {"plain": lambda data=data: plain(data), "ours": lambda data=data: frontend(data)}
        for run in runs.values():  # the warm-up
            run()

        def seconds_of(key: str, runs: dict = runs) -> dict[str, float]:
            start = time.perf_counter()
            runs[key]()
            return {"clip": time.perf_counter() - start}

        found = {key: timing.Measured() for key in runs}
        timing.in_turns(found, seconds_of, args.repeats, lambda _: None)
        taken = {key: measured.seconds["clip"] for key, measured in found.items()}
        speed = report.ratio(taken["plain"], taken["ours"])
        rows.append({"format": kind, "seconds": seconds, "speed_over_plain": speed})
    return rows


def markdown(document: dict) -> str:
    """The settings, and one table."""
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    settings = ", ".join(f"{k} {v}" for k, v in document["settings"].items())
    columns = {
        "format": lambda r: r["format"],
        "seconds": lambda r: f"{r['seconds']:g}",
        "times as fast as plain": lambda r: report.with_spread(r["speed_over_plain"]),
    }
    parts = [
        "# From a file to the features of three encoders",
        f"`{document['command']}`, {document['date']}; {versions}; {settings}.",
        "\n".join(f"- {line}" for line in document["conventions"]),
        report.table(columns, document["rows"]),
    ]
    return "\n\n".join(parts) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.loading",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--format", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    add("--seconds", nargs="+", type=float, default=[3.0, 10.0], help="(default: 3 10)")
    add("--rate", type=setting.at_least(8000), default=44100, help="in Hz (default: 44100)")
    add("--repeats", type=setting.at_least(1), default=15, help="rounds (default: 15)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    main()
