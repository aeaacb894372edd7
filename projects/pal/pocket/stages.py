"""Train stages 1 to 3 of the three types and export the results into the package.

    python projects/pal/pocket/stages.py [--types lal plits pal] [--stages 1 2 3]

A stage with a finished run is trained again; exclude it with --stages. The export is the best
checkpoint of stage 3 in float16, as `pal_plugin/pocket/<type>.safetensors`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[3]


def train(kind: str, stage: int) -> None:
    """Train one stage; the next one starts from `latest:` of it."""
    recipe = ROOT / "projects" / "pal" / f"{kind}_stage{stage}.yaml"
    command = [sys.executable, str(ROOT / "train.py"), "--cfg-path", str(recipe)]
    subprocess.run(command, check=True, cwd=ROOT)


def export(kind: str) -> Path:
    """Copy the newest stage 3 into the package, in float16."""
    from pal_plugin.config.trained import BEST, latest_run

    best = latest_run(f"{kind}_stage3", ROOT / "output") / BEST
    facts = json.loads(best.with_suffix(".json").read_text("utf-8"))
    state = {k: v.to(torch.float16).contiguous() for k, v in load_file(best).items()}
    target = ROOT / "pal_plugin" / "pocket" / f"{kind}.safetensors"
    with safe_open(best, "pt") as file:
        save_file(state, target, metadata=file.metadata())
    target.chmod(0o644)
    kept = ("pal_plugin", "torch", "components", "recipe", "epoch", "step", "metrics", "seed")
    card = {key: facts[key] for key in kept}
    target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--types", nargs="+", default=["lal", "plits", "pal"])
    parser.add_argument("--stages", nargs="*", type=int, default=[1, 2, 3])
    args = parser.parse_args()
    for kind in args.types:
        for stage in args.stages:
            train(kind, stage)
        print(f"exported {export(kind)}")


if __name__ == "__main__":
    main()
