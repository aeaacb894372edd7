"""Speed of our front ends relative to the stock feature extractors, in turns, clip by clip."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad
from torchaudio.compliance import kaldi
from tqdm import tqdm
from transformers import ASTFeatureExtractor, ClapFeatureExtractor, WhisperFeatureExtractor

from benchmarks import report, setting, timing
from pal_plugin.encoders import build_features

_EPILOG = """\
examples:
  python -m benchmarks.features                            # about a minute
  python -m benchmarks.features --encoders whisper --seconds 2 10 30 --batch 1
  python -m benchmarks.features --clock cpu                # on a shared machine

what is compared, for each encoder, length and batch:
  stock   CLAP, Whisper, AST: transformers' extractor on the list of clips. SSLAM: torchaudio's
          fbank, clip by clip, padded and normalized.
  fast    AudioFeatures.batch, precision "fast": float32 (CLAP: its Fourier transform in float64)
  exact   AudioFeatures.batch, precision "exact": float64

how to read the table: median and quartiles of stock's time over ours, each within a round in which
all take turns. "dB" is the largest difference of any cell from stock's, on the timed clips: noise,
a sweep, and noise followed by silence.

results: OUT/features_DEVICE_DATE.json and .md
"""

_CONVENTIONS = (
    "A round times stock, fast and exact in turn, and each ratio is made within a round; no"
    " absolute time is written.",
    "Clips are at the encoder's rate, in memory: neither decoding nor resampling is timed.",
    "One window holds the whole clip: CLAP 10 s, SSLAM and AST 10.24 s, Whisper 30 s.",
)


SCHEMA = 1


@dataclass(frozen=True)
class Case:
    """The measured case of one encoder.

    Args:
        stock: a list of clips -> `[C, ...]`.
        seconds: lengths of clips.
        decibels: dB of power per unit of the features.
    """

    stock: Callable[[list[Tensor]], Tensor]
    seconds: tuple[float, ...]
    decibels: float


def _extractor(extractor, **call) -> Callable[[list[Tensor]], Tensor]:
    def run(clips: list[Tensor]) -> Tensor:
        made = extractor(
            [clip.numpy() for clip in clips],
            sampling_rate=extractor.sampling_rate,
            return_tensors="pt",
            **call,
        )
        return made[extractor.model_input_names[0]]

    return run


def _torchaudio(clips: list[Tensor]) -> Tensor:
    """SSLAM's published front end, one clip at a time."""
    banks = []
    for clip in clips:
        bank = kaldi.fbank(
            (clip - clip.mean())[None],
            htk_compat=True,
            sample_frequency=16000,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=128,
            dither=0.0,
            frame_shift=10,
        )
        banks.append((pad(bank, (0, 0, 0, 1024 - len(bank))) + 4.268) / (2 * 4.569))
    return torch.stack(banks)[:, None]


def cases() -> dict[str, Case]:
    """The encoders by name."""
    clap = ClapFeatureExtractor(
        frequency_min=50, frequency_max=14000, truncation="rand_trunc", padding="pad"
    )
    per_e = 10 / 2.302585092994046  # dB per unit of the natural logarithm
    return {
        "clap": Case(_extractor(clap), (10.0,), 1.0),
        "whisper": Case(_extractor(WhisperFeatureExtractor()), (5.0, 10.0, 30.0), 40.0),
        "sslam": Case(_torchaudio, (10.0,), 2 * 4.569 * per_e),
        "ast": Case(_extractor(ASTFeatureExtractor()), (10.0,), 2 * 4.5689974 * per_e),
    }


def main(argv: list[str] | None = None) -> list[Path]:
    """Run the command line; returns the files written."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    torch.manual_seed(args.seed)
    before = torch.get_num_threads()
    torch.set_num_threads(args.threads)
    try:
        rows, device = _measure(args), setting.device("cpu")
    finally:
        torch.set_num_threads(before)
    now = datetime.datetime.now().astimezone()
    document = {
        "schema": SCHEMA,
        "date": now.isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "benchmarks.features", *argv]),
        "device": device,
        "versions": setting.versions(),
        "settings": {"threads": args.threads, "repeats": args.repeats, "clock": args.clock},
        "conventions": list(_CONVENTIONS),
        "rows": rows,
    }
    text = markdown(document)
    print(text)
    written = report.write(document, args.out / f"features_cpu_{now:%Y-%m-%d-%H%M}", text)
    print("\n".join(f"wrote {path}" for path in written))
    return written


def _measure(args: argparse.Namespace) -> list[dict]:
    """A row per encoder, length, batch and precision."""
    plan = [
        (name, case, seconds, batch)
        for name, case in cases().items()
        if name in args.encoders
        for seconds in args.seconds or case.seconds
        for batch in args.batch
    ]
    rows = []
    with tqdm(total=len(plan), unit="cell", disable=args.quiet, leave=False) as bar:
        for name, case, seconds, batch in plan:
            bar.set_postfix_str(f"{name} {seconds:g} s x {batch}")
            rows += _cell(name, case, seconds, batch, args)
            bar.update()
    return rows


def _cell(
    name: str, case: Case, seconds: float, batch: int, args: argparse.Namespace
) -> list[dict]:
    """Measure stock and ours in turns, on the same clips."""
    features = {p: build_features(name, {"precision": p}) for p in ("fast", "exact")}
    if seconds > features["fast"].window_s:
        raise SystemExit(
            f"error: expected at most {features['fast'].window_s:g} s for {name}, the window of "
            f"the stock extractor, got --seconds {seconds:g}"
        )
    clips = _clips(batch, seconds, features["fast"].sample_rate_hz)
    runs: dict[str, Callable[[], Tensor]] = {"stock": lambda: case.stock(clips)}
    for precision, made in features.items():
        runs[precision] = lambda made=made: made.batch(clips)["features"]
    outputs = {key: run() for key, run in runs.items()}  # the warm-up
    clock = time.process_time if args.clock == "cpu" else time.perf_counter

    def seconds_of(key: str) -> dict[str, float]:
        start = clock()
        runs[key]()
        return {"features": clock() - start}

    found = {key: timing.Measured() for key in runs}
    timing.in_turns(found, seconds_of, args.repeats, lambda _: None)
    taken = {key: measured.seconds["features"] for key, measured in found.items()}
    return [
        {
            "encoder": name,
            "seconds": seconds,
            "batch": batch,
            "precision": precision,
            "speed_over_stock": report.ratio(taken["stock"], taken[precision]),
            "most_db_from_stock": case.decibels
            * float((outputs[precision] - outputs["stock"]).abs().max()),
        }
        for precision in features
    ]


def markdown(document: dict) -> str:
    """The settings, and one table."""
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    settings = ", ".join(f"{k} {v}" for k, v in document["settings"].items())
    columns = {
        "encoder": lambda r: r["encoder"],
        "precision": lambda r: r["precision"],
        "seconds": lambda r: f"{r['seconds']:g}",
        "clips": lambda r: str(r["batch"]),
        "times as fast as stock": lambda r: report.with_spread(r["speed_over_stock"]),
        "dB from stock": lambda r: f"{r['most_db_from_stock']:.1g}",
    }
    parts = [
        "# Front ends against the stock extractors",
        f"`{document['command']}`, {document['date']}; {versions}; {settings}.",
        "\n".join(f"- {line}" for line in document["conventions"]),
        report.table(columns, document["rows"]),
    ]
    return "\n\n".join(parts) + "\n"


def _clips(count: int, seconds: float, rate_hz: int) -> list[Tensor]:
    samples = round(seconds * rate_hz)
    moment = torch.arange(samples, dtype=torch.float64) / rate_hz
    noise = 0.1 * torch.randn(samples)
    sweep = (0.3 * torch.sin(2 * torch.pi * (100 + 600 / seconds * moment) * moment)).float()
    ending = noise * (moment < seconds / 2)
    return [(noise, sweep, ending)[i % 3].clone() for i in range(count)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.features",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = list(cases())
    add("--encoders", nargs="+", choices=names, default=names)
    add(
        "--seconds",
        nargs="+",
        type=float,
        help="length of the clips (default: 10; Whisper: 5, 10 and 30)",
    )
    add("--batch", nargs="+", type=setting.at_least(1), default=[1, 8], help="clips (default: 1 8)")
    add("--repeats", type=setting.at_least(1), default=30, help="rounds (default: 30)")
    add(
        "--threads",
        type=setting.at_least(1),
        default=1,
        help="of torch (default: 1, as in a data worker; for NumPy's set OMP_NUM_THREADS)",
    )
    add(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: time of the process, which others on the machine disturb less (default: wall)",
    )
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    main()
