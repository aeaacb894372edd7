"""PLITS, LAL, PAL and cross-attention compared, relative to the LLM on text only."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import difflib
import shlex
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from benchmarks import plots, profiling, report, setting, timing
from benchmarks.counting import Count, count_prefill, count_step, count_token
from benchmarks.shapes import DTYPES, SHAPES, Shape
from benchmarks.variants import (
    BASELINE,
    FLOOR,
    LABELS,
    TRAINING_ONLY,
    TUNINGS,
    Batch,
    build_llm,
    build_variants,
    speech_tokens,
)
from pal_plugin.utils.runtime import keep_freed_memory

_EPILOG = """\
examples:
  python -m benchmarks.efficiency                          # the CPU's shape: minutes
  python -m benchmarks.efficiency --m 576 --tuning full --measure train
  python -m benchmarks.efficiency --shape llama3.2-1b llama3.2-3b       # on a GPU
  python -m benchmarks.efficiency --flops-only             # all shapes, no weights, any machine
  python -m benchmarks.efficiency --profile lal --m 576 --tuning full   # where the time goes

variants:
  text-only   the stock LLM on n text tokens: the lower bound
  plits       audio prepended; no logits for audio, flash attention without a mask
  lal         audio as keys and values; their projection's input is recomputed in the backward
              pass (attach(llm, checkpoint_kv=True), the default)
  lal-kept    the same with checkpoint_kv=False: it is saved (training only)
  pal         some tokens by PLITS (min(88, m / 4), as SALMONN's windowed Q-Former would give), the
              others by LAL
  flamingo    gated cross-attention before every fourth layer, trainable too
  qwen2audio  transformers' Qwen2AudioForConditionalGeneration around the same LLM, with m audio
              tokens and a minimal audio encoder: the obvious alternative

how to read the table:
  time / text, times as fast as PLITS: median and quartiles of ratios, each within a round in
  which all variants take turns. The ceiling is PLITS's FLOPs over those of the variant.
  saved: bytes that autograd saves for the backward pass, without parameters; held: all tensors of
  the forward pass that are alive at its end. Both are counted, on meta tensors.
  GPU held, GPU peak: memory after the forward pass and its peak, without weights, optimizer state
  and batch. On a CPU no absolute times are written.
  attention: the fused kernels of torch that ran, forward; "products" means none.

results: OUT/efficiency_SHAPE_DEVICE_DATE.json, .md, _speed.png and _memory.png. After an
interruption or failure it writes the results so far, and exits with an error.
"""

_CONVENTIONS = (
    "Random weights; nothing is padded; batch and lengths as stated. Audio features need a gradient"
    " in training. AdamW (fused) on what is trained; LoRA of rank 8 on q, k, v and o.",
    "FLOPs are those of matrix products, two per multiply-add, forward and backward; causal"
    " attention counts unmasked pairs only, checkpointing counts what it computes again.",
    "Saved: storages that autograd saves for the backward pass; held: storages of the forward pass"
    " that are alive at its end. Both with a fused attention kernel, each storage once, without"
    " parameters and inputs, counted on meta tensors of the run's types.",
    "PAL: min(88, m // 4) tokens by PLITS, the rest by LAL. Cross attention: every fourth layer.",
    "Qwen2Audio: transformers' class with the same LLM, an audio encoder without layers, and logits"
    " for all positions, as the class has it.",
)


def main(argv: list[str] | None = None) -> list[Path]:
    """Run the command line; returns the files written."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    _complete(args)
    written = []
    for name in args.shape:
        torch.manual_seed(args.seed)
        if args.profile:
            written.append(_profile(args, name))
        else:
            written += _measure(args, name, argv)
    print("\n".join(f"wrote {path}" for path in written))
    if args.failed:
        raise SystemExit("\n".join(["failed:", *args.failed]))
    return written


def _measure(args: argparse.Namespace, name: str, argv: list[str]) -> list[Path]:
    """Measure one shape: count, time, report."""
    shape, now = SHAPES[name], datetime.datetime.now().astimezone()
    counts = _count(args, name, shape)
    _done(args, f"{name}: counted")
    measured: dict[tuple, dict[str, timing.Measured]] = {}
    if not args.flops_only:
        try:
            _time(args, name, shape, measured)
        except (KeyboardInterrupt, RuntimeError) as error:  # results so far are still reported
            args.failed.append(f"{name}: {error or type(error).__name__}")
    for (kind, tuning, m), found in measured.items():
        failed = {v: f.status for v, f in found.items() if f.status not in timing.STATUSES}
        args.failed += [f"{name}, {tuning or kind} m={m}, {v}: {s}" for v, s in failed.items()]
    rows = []
    for cell, by_variant in counts.items():
        phase, tuning, m = cell
        facts = {"phase": phase, "tuning": tuning, "m": m, "n": args.n}
        facts["batch"] = _rows(args, shape, phase)
        timed = measured.get(_timed_together(cell), {})
        rows += report.cell_rows(facts, by_variant, timed, absolute=args.device == "cuda")
    document = {
        "schema": report.SCHEMA,
        "date": now.isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "benchmarks.efficiency", *argv]),
        "device": setting.device(args.device),
        "versions": setting.versions(),
        "shape": {"name": name, **dataclasses.asdict(shape)},
        "settings": _settings(args, shape),
        "conventions": list(_CONVENTIONS),
        "rows": rows,
    }
    if args.rehearsal:
        document["warning"] = setting.REHEARSAL
    print(report.markdown(document))
    device, date = setting.slug(document["device"]["name"]), f"{now:%Y-%m-%d-%H%M}"
    stem = args.out / f"{args.rehearsal * 'rehearsal_'}efficiency_{name}_{device}_{date}"
    drawn = [] if args.no_plots else plots.draw(document, stem)
    return report.write(document, stem) + drawn


def _count(args: argparse.Namespace, name: str, shape: Shape) -> dict[tuple, dict[str, Count]]:
    """Counts by (phase, tuning, m) and variant, in the order of the report."""
    jobs = [("train", tuning) for tuning in args.tuning if "train" in args.measure]
    if "inference" in args.measure:
        jobs += [("prefill", None), ("decode", None)]
    counting = {"train": count_step, "prefill": count_prefill, "decode": count_token}
    counts: dict[tuple, dict[str, Count]] = {}
    with _bar(len(jobs) * len(args.m) * len(args.variants), f"{name}: counting", args) as bar:
        for phase, tuning in jobs:
            training = phase == "train"
            llm = build_llm(shape, "meta", _dtype(args, training), tuning)
            names = _variants_of(args, training)
            for m in args.m:
                rows = _rows(args, shape, phase)
                weight = llm.get_input_embeddings().weight
                batch = Batch.random(shape, rows, args.n, m, weight, grad=training)
                counts[phase, tuning, m] = found = {}
                for variant, made in build_variants(names, llm, shape, m).items():
                    found[variant] = counting[phase](shape, made, batch)
                    bar.update()
    return counts


def _time(args: argparse.Namespace, name: str, shape: Shape, measured: dict[tuple, dict]) -> None:
    """Add measurements by (kind, tuning, m); the most expensive m first, for a correct ETA."""
    jobs = [("train", tuning) for tuning in args.tuning if "train" in args.measure]
    if "inference" in args.measure:
        jobs.append(("inference", None))
    total = sum(len(_variants_of(args, kind == "train")) for kind, _ in jobs)
    with _bar(total * len(args.m) * (1 + args.repeats), f"{name}: timing", args) as bar:
        for kind, tuning in jobs:
            training = kind == "train"
            llm = build_llm(shape, args.device, _dtype(args, training), tuning)
            for m in sorted(args.m, reverse=True):

                def tick(variant: str, cell: str = f"{tuning or kind} m={m}") -> None:
                    bar.set_postfix_str(f"{cell} {variant}", refresh=False)
                    bar.update()

                common = (
                    *(_variants_of(args, training), llm, shape),
                    *(_rows(args, shape, kind), args.n, m, args.repeats),
                )
                if training:
                    measured[kind, tuning, m] = timing.time_training(*common, tick)
                else:
                    measured[kind, tuning, m] = timing.time_inference(
                        *common, args.new_tokens, tick
                    )
                _done(args, f"{name}: {tuning or kind}, m = {m} timed")
            del llm


def _profile(args: argparse.Namespace, name: str) -> Path:
    """Profile the first tuning and m."""
    shape, tuning, m = SHAPES[name], args.tuning[0], args.m[0]
    llm = build_llm(shape, args.device, _dtype(args, True), tuning)
    rows = _rows(args, shape, "train")
    table = profiling.top_operations(args.profile, llm, shape, rows, args.n, m)
    device = setting.device(args.device)["name"]
    title = f"{name}, {LABELS[args.profile]}, {tuning}, batch {rows}, n = {args.n}, m = {m}"
    text = f"{title}, {device}\n{table}\n"
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"profile_{name}_{args.profile}_{tuning}_m{m}_{setting.slug(device)}.txt"
    path.write_text(text, "utf-8")
    return path


def _timed_together(cell: tuple) -> tuple:
    """The key of cells that are timed together: prefill and decoding are."""
    phase, tuning, m = cell
    return ("train" if phase == "train" else "inference", tuning, m)


def _variants_of(args: argparse.Namespace, training: bool) -> list[str]:
    return [v for v in args.variants if training or v not in TRAINING_ONLY]


def _rows(args: argparse.Namespace, shape: Shape, phase: str) -> int:
    if phase == "train":
        return args.batch or shape.train_batch
    return args.inference_batch or shape.inference_batch


def _dtype(args: argparse.Namespace, training: bool) -> torch.dtype:
    # Shapes that are only counted use the dtypes that they would have on a GPU.
    on_cpu = args.device == "cpu"
    return DTYPES["cpu" if on_cpu else "cuda"][0 if training else 1]


def _bar(total: int, text: str, args: argparse.Namespace) -> tqdm:
    return tqdm(total=total, desc=text, unit="run", disable=args.quiet, leave=False, smoothing=0.1)


def _done(args: argparse.Namespace, what: str) -> None:
    """Print a line instead of the bar (--quiet)."""
    if args.quiet:
        print(f"{datetime.datetime.now():%H:%M:%S} {what}", flush=True)


def _settings(args: argparse.Namespace, shape: Shape) -> dict:
    return {
        "m": args.m,
        "n": args.n,
        "plits_tokens_of_pal": {m: speech_tokens(m) for m in args.m},
        "train_batch": _rows(args, shape, "train"),
        "inference_batch": _rows(args, shape, "inference"),
        "train_dtype": str(_dtype(args, True)).removeprefix("torch."),
        "inference_dtype": str(_dtype(args, False)).removeprefix("torch."),
        "repeats": args.repeats,
        "new_tokens": args.new_tokens,
        "seed": args.seed,
    }


def _complete(args: argparse.Namespace) -> None:
    """Set defaults that depend on other options."""
    args.failed = []
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.flops_only:
        args.device = "meta"
    if args.shape is None:
        args.shape = list(SHAPES) if args.flops_only else ["cpu"]
    wanted = {FLOOR, BASELINE, *args.variants}  # the references of all ratios
    args.variants = [name for name in LABELS if name in wanted]
    args.m = sorted(set(args.m))
    if args.device == "cpu":
        keep_freed_memory()  # page faults are worst where activations are largest: PLITS


def _known_shape(name: str) -> str:
    if name not in SHAPES:
        near = difflib.get_close_matches(name, SHAPES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise argparse.ArgumentTypeError(
            f"unknown shape {name!r}; {hint}known: {', '.join(SHAPES)}. "
            "Add new ones in benchmarks/shapes.py"
        )
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.efficiency",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--shape", nargs="+", type=_known_shape, metavar="NAME", help=", ".join(SHAPES))
    add(
        "--m",
        nargs="+",
        type=setting.at_least(4),
        default=[64, 256, 576, 1024, 2048],
        help="audio tokens (default: 64 256 576 1024 2048)",
    )
    add("--n", type=setting.at_least(2), default=128, help="text tokens (default: 128)")
    add("--measure", nargs="+", choices=["train", "inference"], default=["train", "inference"])
    add("--tuning", nargs="+", choices=TUNINGS, default=list(TUNINGS), help="trainable weights")
    add(
        "--variants",
        nargs="+",
        choices=list(LABELS),
        default=list(LABELS),
        help="text-only and plits are always included as references",
    )
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add(
        "--batch",
        type=setting.at_least(1),
        help="rows of a training step (default: by shape, 8 or 2)",
    )
    add(
        "--inference-batch",
        type=setting.at_least(1),
        help="rows of a prompt (default: by shape, 12 or 2)",
    )
    add(
        "--new-tokens",
        type=setting.at_least(1),
        default=32,
        help="decoded tokens per measurement (default: 32)",
    )
    add("--repeats", type=setting.at_least(1), default=10, help="rounds (default: 10)")
    add("--flops-only", action="store_true", help="count FLOPs and saved bytes only")
    add(
        "--profile",
        choices=list(LABELS),
        metavar="VARIANT",
        help="instead, profile one variant's training step (smallest m, first tuning)",
    )
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    add(
        "--no-plots",
        action="store_true",
        help="no plots; draw them later with python -m benchmarks.plots JSON",
    )
    add(
        "--rehearsal", action="store_true", help="mark the results as a rehearsal, not measurements"
    )
    add("--quiet", action="store_true", help="log lines instead of a progress bar")
    return parser


if __name__ == "__main__":
    main()
