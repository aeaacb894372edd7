"""PLITS against LAL by clip length, for clips shorter than the encoder's window."""

from __future__ import annotations

import argparse
import datetime
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks import report, setting, timing
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components
from pal_plugin.planning.shapes import ENCODER_SIZES, LLMS
from pal_plugin.planning.workload import Workload, loss_of, make_batch
from pal_plugin.types import AudioTokens
from pal_plugin.utils.runtime import keep_freed_memory

SCHEMA = 1
INTEGRATIONS = ("plits", "lal")
_EPILOG = """\
examples:
  python -m benchmarks.clip_lengths                        # SmolLM2-135M and Whisper tiny: minutes
  python -m benchmarks.clip_lengths --seconds 1 5 --repeats 3

what is timed: a training step (LoRA rank 8, MLP connector) of the model after its frozen encoder,
and the encoder alone, which pads every clip to its window. Weights are random, which does not
affect times. Rows of 30 s show the cost of a step that also computes the padding of shorter clips.

results: OUT/clip_lengths_DEVICE_DATE.json and .md
"""


class Given(nn.Module):
    """Stand-in for a frozen encoder: returns precomputed tokens [B, N, D]."""

    def __init__(self, tokens: AudioTokens, like: nn.Module) -> None:
        super().__init__()
        self.tokens, self.hidden_states = tokens, None
        self.width, self.grid = like.width, like.grid
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, *_) -> AudioTokens:
        return self.tokens


def build(integration: str, pool: int, device: str) -> AudioLLM:
    """The model with random weights; of the LLM only LoRA is trainable."""
    torch.manual_seed(0)
    sizes = {k: v for k, v in LLMS["smollm2-135m"].items() if k != "model_type"}
    config = LlamaConfig(**sizes, attn_implementation="sdpa")
    llm = LlamaForCausalLM(config)
    section = {
        "encoders": {"whisper": {"type": "whisper", "model": ENCODER_SIZES["whisper-tiny"]}},
        "connectors": {
            "audio": {"type": "mlp", "encoders": ["whisper"], "args": {"pool": pool}},
        },
        "routing": {"audio": {"integration": integration}},
        "llm": {"path": "random"},
        "stage": {"llm": "lora"},
    }
    model = AudioLLM(**build_components(section, load=lambda **_: (llm, None)))
    return model.to(device).train()


def step_of(model: AudioLLM, work: Workload) -> tuple[Callable[[], None], Callable[[], None], int]:
    """`(training step after the encoder, the encoder alone, audio tokens per clip)`."""
    batch = make_batch(model, work)
    entry = batch.samples["audio"]["whisper"]
    encoder = model.encoders["whisper"]

    @torch.no_grad()
    def encode() -> AudioTokens:
        return encoder(entry["features"], entry["frames"])

    given = Given(encode(), encoder)
    trained = [p for p in model.parameters() if p.requires_grad]

    def step() -> None:
        model.encoders["whisper"] = given
        try:
            loss_of(model, batch, work.answer).backward()
        finally:
            model.encoders["whisper"] = encoder
        for parameter in trained:
            parameter.grad = None

    tokens = model.connectors["audio"]({"whisper": given.tokens}).mask.shape[1]
    return step, encode, tokens


def measure(args: argparse.Namespace, seconds: float, tick: Callable[[str], None]) -> dict:
    """One row: ratios within rounds, in which all variants take turns."""
    device = torch.device(args.device)
    work = Workload(args.batch, clip_s=seconds, text=args.text, answer=args.answer)
    steps: dict[str, Callable[[], object]] = {}
    for name in INTEGRATIONS:
        step, encode, tokens = step_of(build(name, args.pool, args.device), work)
        steps |= {name: step, "encoder": encode}
    for step in steps.values():
        step()
    found = {name: timing.Measured() for name in steps}
    timing.in_turns(
        found, lambda n: {"step": timing.run_seconds(steps[n], device)}, args.repeats, tick
    )
    times = {name: measured.seconds["step"] for name, measured in found.items()}
    whole = [lal + encoder for lal, encoder in zip(times["lal"], times["encoder"], strict=True)]
    return {
        "seconds": seconds,
        "tokens": tokens,
        "plits / lal": report.ratio(times["plits"], times["lal"]),
        "encoder / lal with it": report.ratio(times["encoder"], whole),
        **({} if device.type == "cpu" else {"step_s": _medians(times)}),
    }


def _medians(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}


def main(argv: Sequence[str] | None = None) -> list[Path]:
    """Measure, print the table, and return the files written."""
    args = _parser().parse_args(argv)
    keep_freed_memory()
    torch.manual_seed(0)
    total = len(args.seconds) * (len(INTEGRATIONS) + 1) * args.repeats
    with tqdm(total=total, unit="turn") as bar:

        def tick(name: str) -> None:
            bar.set_description(name)
            bar.update()

        rows = [measure(args, seconds, tick) for seconds in args.seconds]
    document = {
        "schema": SCHEMA,
        "command": shlex.join(["python", "-m", "benchmarks.clip_lengths", *(argv or sys.argv[1:])]),
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "device": setting.device(args.device),
        "versions": setting.versions(),
        "setting": {k: v for k, v in vars(args).items() if k != "out"},
        "rows": rows,
    }
    text = markdown(document)
    print(text)
    name = f"clip_lengths_{setting.slug(args.device)}_{datetime.datetime.now():%Y-%m-%d-%H%M}"
    return report.write(document, args.out / name, text)


def markdown(document: dict) -> str:
    """The settings, and one table."""
    columns = {
        "seconds of a clip": lambda r: f"{r['seconds']:g}",
        "audio tokens": lambda r: str(r["tokens"]),
        "PLITS / LAL": lambda r: report.with_spread(r["plits / lal"]),
        "encoder / LAL with it": lambda r: report.with_spread(r["encoder / lal with it"]),
    }
    used = document["setting"]
    parts = [
        "# Clips of several lengths in windows of 30 s",
        f"`{document['command']}`, {document['date']}; "
        + ", ".join(f"{k} {v}" for k, v in document["versions"].items()),
        "SmolLM2-135M and Whisper tiny in size, random weights, float32; "
        f"{used['batch']} clips, one question of {used['text']} tokens each, LoRA rank 8. Medians "
        "and quartiles of ratios that are made within a round.",
        report.table(columns, document["rows"]),
    ]
    return "\n\n".join(parts) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.clip_lengths",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", nargs="+", type=float, default=[1, 5, 10, 30], help="default: 1 5 10 30")
    add("--batch", type=setting.at_least(1), default=8, help="clips (default: 8)")
    add("--pool", type=setting.at_least(1), default=10, help="connector's pool (default: 10)")
    add("--text", type=setting.at_least(2), default=20, help="tokens per row (default: 20)")
    add("--answer", type=setting.at_least(1), default=6, help="answer tokens (default: 6)")
    add("--repeats", type=setting.at_least(1), default=7, help="rounds (default: 7)")
    add("--device", default="cpu", help="cpu or cuda")
    add("--out", type=Path, default=Path("benchmarks/results"), help="default: benchmarks/results")
    return parser


if __name__ == "__main__":
    main()
