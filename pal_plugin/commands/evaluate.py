"""`pal evaluate`, which `evaluate.py` calls too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pal_plugin.commands import options

HELP = """\
examples:
  # the newest run of a recipe, on the recipe's own validation and test splits:
  pal evaluate lal_stage1
  # a specific run or checkpoint file:
  pal evaluate lal_stage1 --options model.checkpoint=output/lal_stage1-20260101-120000
  # your own clips, with a CSV in ESC-50's format:
  pal evaluate mini/eval_esc50 \\
      --options data.audio=FOLDER data.annotations=CSV model.checkpoint=RUN_OR_FILE

The model is built from the checkpoint's own JSON, so that the trained model is evaluated; --options
may change it, a run file's model section only chooses the checkpoint.
python evaluate.py --cfg-path RECIPE.yaml is the same command.
"""


def resume(argv: Sequence[str], folder: Path | None) -> str:
    """How to resume an interrupted evaluation; arguments as in `train.resume`."""
    if folder is None:
        again = options.same_command("evaluate", argv)
        return f"nothing has been evaluated yet; start again with: {again}"
    again = options.same_command("evaluate", argv, "--job-id", folder.name)
    return f"resume with: {again}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pal evaluate`."""
    options.add_recipe(parser)
    options.add_job_id(parser)
    parser.add_argument(
        "--mask-audio",
        action="store_true",
        help="evaluate a second time with the audio masked, whatever the run file says; the table "
        "shows both",
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate. Returns the exit code."""
    if args.mask_audio:
        args.options = [*args.options, "run.masked_audio=true"]
    load = options.loader(args, evaluating=True)
    cfg = load()
    clock = options.start_log()
    with clock.counted("imports"):
        from pal_plugin.training import launch

    launch.evaluate(launch.evaluation_config(load, args.options, cfg), args.job_id, clock)
    return 0
