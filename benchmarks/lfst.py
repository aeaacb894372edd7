"""LFST relative to its own matrix products: the overhead of windows, attention and norms."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from benchmarks import report, setting, timing
from benchmarks.counting import SavedBytes
from pal_plugin.connectors import LFST
from pal_plugin.types import AudioTokens
from pal_plugin.utils.runtime import keep_freed_memory

#: For a window of 10 s: SSLAM's 16 x 16 patches, the unfolded map of LAION's CLAP.
GRIDS = {"sslam": (64, 8), "clap": (32, 2)}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FLOOR, OWN = "linears", "lfst"
SCHEMA = 1
_MIB = 2**20

_EPILOG = """\
examples:
  python -m benchmarks.lfst                              # the paper's size: minutes on a CPU
  python -m benchmarks.lfst --grid 32x2 --dtype float32 --batch 1
  python -m benchmarks.lfst --device cuda --batch 8

how to read the table:
  time / linears: median and quartiles of the ratio of a training step of LFST to one of plain
  linear layers of the same shapes, each made within a round in which both take their turn. At 1
  nothing but the matrix products would cost time.
  saved: bytes that autograd saves for the backward pass, without parameters and encoder tokens.
  Absolute times and GPU memory are written on a GPU only.

results: OUT/lfst_DEVICE_DATE.json and .md
"""

_CONVENTIONS = (
    "A step is forward and backward from a given gradient of the output, without an optimizer. All"
    " cells are valid; encoder tokens need no gradient, as under frozen encoders.",
    "Linear layers: one per product of LFST, with its rows, widths and gradients, on inputs of its"
    " own. FLOPs of matrix products, two per multiply-add, are the same on both sides.",
    "Saved: storages that autograd saves for the backward pass, each once, without parameters and"
    " encoder tokens.",
)

Step = Callable[..., None]


class Products(TorchFunctionMode):
    """Records the matrix products of a forward pass.

    Attributes:
        found: `(input shape, weight shape, has bias, input requires grad)` of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[torch.Size, torch.Size, bool, bool]] = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is F.linear:
            x, weight, *bias = [*args, *(kwargs or {}).values()]
            with_bias = any(b is not None for b in bias)
            self.found.append((x.shape, weight.shape, with_bias, x.requires_grad))
        return function(*args, **(kwargs or {}))


def lfst_step(lfst: LFST, tokens: dict[str, AudioTokens]) -> Step:
    """Forward and backward of the connector."""
    with torch.no_grad():
        gradient = torch.randn_like(lfst(tokens).features)

    def step(forward_done: Callable[[], None] = lambda: None) -> None:
        output = lfst(tokens).features
        forward_done()
        output.backward(gradient)
        lfst.zero_grad(set_to_none=True)

    return step


def linears_step(products: Products, like: Tensor) -> Step:
    """The same products as plain linear layers; device and dtype are those of `like` [...]."""
    layers, inputs, gradients = nn.ModuleList(), [], []
    for shape, weight, bias, needs_gradient in products.found:
        layers.append(nn.Linear(weight[1], weight[0], bias).to(like))
        x = torch.randn(shape, device=like.device, dtype=like.dtype)
        inputs.append(x.requires_grad_(needs_gradient))
        gradients.append(torch.randn(*shape[:-1], weight[0]).to(like))

    def step(forward_done: Callable[[], None] = lambda: None) -> None:
        outputs = [layer(x) for layer, x in zip(layers, inputs, strict=True)]
        forward_done()
        torch.autograd.backward(outputs, gradients)
        layers.zero_grad(set_to_none=True)
        for x in inputs:
            x.grad = None

    return step


def measure(args: argparse.Namespace, grid: tuple[int, int], dtype: str, bar: tqdm) -> dict:
    """One row: counts and times of one grid and type."""
    torch.manual_seed(args.seed)
    widths = dict.fromkeys(GRIDS, args.encoder_width)
    lfst = LFST(
        widths, GRIDS, args.out_width, grid=grid, width=args.width, heads=args.heads,
        layers=args.layers,
    ).to(args.device, DTYPES[dtype])  # fmt: skip
    tokens = {}
    for name, cells in GRIDS.items():
        shape = (args.batch, cells[0] * cells[1])
        features = torch.randn(*shape, widths[name]).to(lfst.query)
        mask = torch.ones(shape, dtype=torch.bool, device=args.device)
        tokens[name] = AudioTokens(features, mask, cells)
    saved = SavedBytes([*lfst.parameters(), *(t.features for t in tokens.values())])
    with Products() as products, saved.hooks():
        length = lfst(tokens).features.shape[1]
    steps = {
        FLOOR: linears_step(products, lfst.query),
        OWN: lfst_step(lfst, tokens),
    }
    flops, found = {}, {}
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counter:
            step()
        flops[name] = counter.get_total_flops()
        found[name] = timing.warm_up(step, lfst.query.device)

    def seconds(name: str) -> dict[str, float]:
        return {"train": timing.run_seconds(steps[name], lfst.query.device)}

    timing.in_turns(found, seconds, args.repeats, lambda _: bar.update())
    own, floor = (found[name].seconds.get("train", []) for name in (OWN, FLOOR))
    row = {
        "grid": f"{grid[0]}x{grid[1]}",
        "dtype": dtype,
        "batch": args.batch,
        "tokens": length,
        "status": found[OWN].status,
        "flops": flops[OWN],
        "flops_linears": flops[FLOOR],
        "saved_bytes": saved.total,
        "time_over_linears": report.ratio(own, floor) if len(own) == len(floor) else None,
        "gpu_held_bytes": found[OWN].held_bytes,
        "gpu_peak_bytes": found[OWN].peak_bytes,
    }
    if args.device == "cuda":
        row["seconds"], row["seconds_linears"] = report.spread(own), report.spread(floor)
    return row


def markdown(document: dict) -> str:
    """The settings, and one table."""
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items())
    sizes = ", ".join(f"{k} {v}" for k, v in document["settings"].items())
    columns = {
        "grid": lambda r: r["grid"],
        "type": lambda r: r["dtype"],
        "batch": lambda r: str(r["batch"]),
        "tokens": lambda r: str(r["tokens"]),
        "GFLOP": lambda r: f"{r['flops'] / 1e9:.4g}",
        "time / linears": lambda r: report.with_spread(r["time_over_linears"]) or r["status"],
        "saved MiB": lambda r: f"{r['saved_bytes'] / _MIB:.1f}",
        "GPU held MiB": lambda r: _mib(r["gpu_held_bytes"]),
        "GPU peak MiB": lambda r: _mib(r["gpu_peak_bytes"]),
        "ms": lambda r: report.with_spread(r.get("seconds"), 1e3),
        "linears ms": lambda r: report.with_spread(r.get("seconds_linears"), 1e3),
    }
    parts = [
        f"# LFST on {document['device']['name']}",
        f"`{document['command']}`, {document['date']}; {versions}.\n\n{sizes}.",
        "\n".join(f"- {line}" for line in document["conventions"]),
        report.table(columns, document["rows"]),
    ]
    return "\n\n".join(parts) + "\n"


def main(argv: list[str] | None = None) -> list[Path]:
    """Run the command line; returns the files written."""
    argv = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.device == "cpu":
        keep_freed_memory()
    args.batch = args.batch or {"cpu": 2, "cuda": 8}[args.device]
    cells = [(grid, dtype) for grid in args.grid for dtype in args.dtype]
    total = len(cells) * 2 * args.repeats
    with tqdm(total=total, desc="lfst", unit="run", disable=args.quiet, leave=False) as bar:
        rows = [measure(args, grid, dtype, bar) for grid, dtype in cells]
    now = datetime.datetime.now().astimezone()
    names = ("width", "heads", "layers", "encoder_width", "out_width", "repeats", "seed")
    document = {
        "schema": SCHEMA,
        "date": now.isoformat(timespec="minutes"),
        "command": shlex.join(["python", "-m", "benchmarks.lfst", *argv]),
        "device": setting.device(args.device),
        "versions": setting.versions(),
        "settings": {name: getattr(args, name) for name in names},
        "conventions": list(_CONVENTIONS),
        "rows": rows,
    }
    text = markdown(document)
    print(text)
    device = setting.slug(document["device"]["name"])
    written = report.write(document, args.out / f"lfst_{device}_{now:%Y-%m-%d-%H%M}", text)
    print("\n".join(f"wrote {path}" for path in written))
    return written


def _mib(value: int | None) -> str:
    return "" if value is None else f"{value / _MIB:,.0f}"


def _grid(text: str) -> tuple[int, int]:
    try:
        time, frequency = map(int, text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected TIMExFREQUENCY cells such as 64x8, got {text!r}"
        ) from None
    return time, frequency


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lfst",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, size = parser.add_argument, setting.at_least(1)
    grids = [(64, 8), (32, 2)]
    add("--grid", nargs="+", type=_grid, default=grids, help="query grids (default: 64x8 32x2)")
    add("--dtype", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    add("--batch", type=size, help="clips of 10 s (default: 2, on a GPU 8)")
    add("--width", type=size, default=1024, help="inner width (default: 1024)")
    add("--heads", type=size, default=16, help="attention heads (default: 16)")
    add("--layers", type=size, default=3, help="updates (default: 3)")
    add("--encoder-width", type=size, default=768, help="of both encoders (default: 768)")
    add("--out-width", type=size, default=2048, help="of the LLM (default: 2048)")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto")
    add("--repeats", type=size, default=10, help="rounds (default: 10)")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    add("--quiet", action="store_true", help="no progress bar")
    return parser


if __name__ == "__main__":
    main()
