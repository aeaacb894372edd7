"""Export a run's connectors, gains and LoRA weights into the package, in half precision.

    python projects/pal/small/export.py latest:small_lal small

writes pal_plugin/pocket/small.safetensors and its JSON, which the model type of that name loads
if its YAML has `checkpoint: pocket://small.safetensors`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file

from pal_plugin.config.trained import resolve_checkpoint
from pal_plugin.utils.errors import UserError
from pal_plugin.utils.files import write_json
from pal_plugin.utils.locations import POCKET
from pal_plugin.utils.weights import write_tensors

#: Keys of the checkpoint's JSON that are kept.
KEPT = ("pal_plugin", "torch", "components", "recipe", "epoch", "step", "metrics", "seed")


def export(checkpoint: Path, target: Path) -> None:
    """Copy a checkpoint to `target` in float16, with the `KEPT` metadata.

    Raises:
        ValueError: a weight exceeds the range of float16.
    """
    state = {name: tensor.half().contiguous() for name, tensor in load_file(checkpoint).items()}
    lost = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if lost:
        raise ValueError(f"{checkpoint}: {', '.join(lost)} exceed the range of float16")
    with safe_open(checkpoint, "pt") as file:
        write_tensors(state, target, file.metadata())
    facts = json.loads(checkpoint.with_suffix(".json").read_text("utf-8"))
    write_json(target.with_suffix(".json"), {key: facts[key] for key in KEPT if key in facts})


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="latest:RECIPE, a run folder, or a .safetensors file")
    parser.add_argument("name", help="name of the file in the package: the model type")
    args = parser.parse_args()
    target = POCKET / f"{args.name}.safetensors"
    try:
        export(resolve_checkpoint(args.run, "output"), target)
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
